"""Generates inputs and documentation tables from the table of options: Action, GitLab template, pages."""
