"""Verbs on builders that last, on what jobs left, and on the cluster."""
