"""The parity comparison: the same builds by kube-builder and docker buildx on one buildkitd."""
