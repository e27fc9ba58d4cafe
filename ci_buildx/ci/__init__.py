"""The CI systems: how each hands over inputs and takes outputs, groups, masks and summaries."""
