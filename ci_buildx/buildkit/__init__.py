"""buildkitd's Control service over grpcio: workers, solve, status."""
