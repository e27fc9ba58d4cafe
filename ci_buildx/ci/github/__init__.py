"""GitHub Actions: inputs from ``INPUT_…``, the event, log commands, outputs, the summary and the clean-up.

File formats and commands: GitHub's documentation, "Workflow commands for GitHub Actions" (2026).
"""
