"""Kubernetes objects of builders: pure functions of names, plan and settings."""
