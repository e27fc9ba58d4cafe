"""What buildkitd may ask of us while it builds: HTTP/2 and gRPC without I/O, and the services behind them."""
