"""The runbook, executable: playbooks as data, and what `reconcile` does with one."""
