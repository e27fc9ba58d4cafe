"""The Kubernetes objects of builders: pure functions from names, plan and settings."""
