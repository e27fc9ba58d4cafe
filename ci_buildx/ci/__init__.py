"""Adapters for CI systems: inputs, outputs, log groups, secret masking and summaries."""
