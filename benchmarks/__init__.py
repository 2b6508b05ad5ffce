"""The benchmark: whole processes against psql doing the same by hand. `python -m benchmarks`; see README.md."""
