"""The Kubernetes API: credentials, REST calls, watches and WebSocket streams."""
