"""GitHub Actions: inputs from ``INPUT_…``, the event, workflow commands, outputs, the summary and the clean-up."""
