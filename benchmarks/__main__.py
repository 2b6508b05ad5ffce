"""`python -m benchmarks`: measure on an embedded Postgres (or the server that DATABASE_URL names), print a table."""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks import table
from benchmarks.bench import Bench, Result
from benchmarks.cases import cases
from benchmarks.databases import Databases
from reconciler.embedded import EmbeddedPostgres
from reconciler.embedded_programs import installed_programs
from reconciler.errors import ReconcileError


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="reconcile against psql by hand.")
    parser.add_argument("--rows", type=_sizes, default=[10_000, 100_000], metavar="N,N", help="managed rows")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="counted runs; of short cases, thrice as many")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this case; `apply-*` works")
    options = parser.parse_args()
    wanted = list(cases(options.rows, options.only))
    if not wanted or options.runs < 1:
        names = ", ".join(case.name for case in cases(options.rows, ()))
        parser.error(f"there is nothing to run; the cases are {names}")
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconcile-bench-")))
            url = os.environ.get("DATABASE_URL") or stack.enter_context(EmbeddedPostgres()).url
            databases = stack.enter_context(closing(Databases(url)))
            psql = installed_programs() / "psql"
            print(table.machine(psql, databases.server_version(), durable=databases.is_durable()), flush=True)
            results: list[Result] = []
            try:
                results.extend(Bench(folder, databases, psql).results(wanted, options.runs))
            finally:  # what has been measured is worth having, whatever ends the rest
                print(table.render(results), end="")
    except ReconcileError as error:
        raise SystemExit(f"The benchmark could not be run: {error}") from None


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",")]
    if min(sizes) < 1:
        raise ValueError(text)
    return sizes


if __name__ == "__main__":
    main()
