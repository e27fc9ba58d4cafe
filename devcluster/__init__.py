"""A real Kubernetes cluster on one machine without a docker daemon, for the demo, the tests and the bench."""
