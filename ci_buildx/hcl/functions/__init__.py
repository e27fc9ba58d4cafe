"""The functions that expressions may call: those of docker buildx 0.38.2's standard library."""
