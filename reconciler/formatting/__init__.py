"""`reconcile fmt`: state files in the style of the house."""
