"""What can go wrong with a cluster, as one line for its user."""


class DevclusterError(Exception):
    """Says what is wrong and what to do about it."""
