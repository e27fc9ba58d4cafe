"""The services that buildkitd can call during a build, and the gRPC session that serves them without network I/O."""
