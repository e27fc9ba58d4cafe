"""Timelines of builds: the data, and its rendering as SVG, HTML and Mermaid."""
