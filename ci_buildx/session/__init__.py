"""The session that buildkitd calls back on: HTTP/2 without I/O and the attachables it serves."""
