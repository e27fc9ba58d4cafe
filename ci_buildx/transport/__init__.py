"""Transports from this machine to buildkitd in a pod, behind one interface."""
