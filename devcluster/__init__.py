"""A real Kubernetes cluster on one machine without a docker daemon, for demo, tests and benchmarks."""
