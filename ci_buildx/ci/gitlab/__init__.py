"""GitLab CI/CD: inputs from variables, defaults from the job's predefined variables, log sections and reports."""
