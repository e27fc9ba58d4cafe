"""Writes what users read from the table of options: inputs of the Action and of the template, tables of the pages."""
