"""Rights: their tables, the YAML that grants them, and the checks of doctor."""
