"""The one connection of a run, its transactions, and what the driver says when something is wrong."""
