"""Pods that come up and are used: watching them, and what the cluster says of a failure."""
