"""Go's template language: the subset that ``--format`` needs, over values with Go's kinds."""
