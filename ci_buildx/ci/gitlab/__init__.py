"""GitLab CI/CD: inputs through variables, what the job's own variables leave to say, sections and reports."""
