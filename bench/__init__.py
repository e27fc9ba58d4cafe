"""Us and docker buildx, alternately, on the same cluster in the same run: medians, minima and ratios."""
