"""Errors of a cluster, each one line for its user."""


class DevclusterError(Exception):
    """Error whose message says what is wrong and how to fix it."""
