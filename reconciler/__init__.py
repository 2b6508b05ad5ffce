"""GitOps for the rows that run a product: YAML in git to rows in Postgres, every change audited."""

__version__ = "0.1.0"
