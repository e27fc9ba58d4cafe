"""Benchmarks of kube-builder and docker buildx, alternating on one cluster in one run: medians, minima, ratios."""
