"""`reconcile drill`: the six incidents, or a seventh, made to happen on real parts, stopped, and restored."""
