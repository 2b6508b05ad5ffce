"""What `reconcile doctor` looks at: all that a dry run or an apply needs, and what to do about what is not right."""
