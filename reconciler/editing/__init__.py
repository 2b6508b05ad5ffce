"""Edits of state files that keep every byte they need not change, and commits of them."""
