"""A client of buildkitd's Control service over grpcio: workers, solve, status, cache."""
