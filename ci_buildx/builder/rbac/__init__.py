"""Rights: the table of them, the YAML that grants them, and the checks of doctor."""
