"""Migration of CI files: YAML with positions, edits of its lines, and the report."""
