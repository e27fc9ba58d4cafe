"""Run docker buildx's own integration tests against kube-builder on a devcluster, with docker buildx as the control."""
