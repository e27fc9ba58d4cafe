"""The command line: one module per verb, and one place that turns errors into exit codes."""

from ci_buildx.model.lazy import defer_modules

# pathlib needs them only for Windows, globs and IP addresses in URLs; importing them costs 2 ms per start.
with defer_modules("fnmatch", "ipaddress", "ntpath"):
    import pathlib  # noqa: F401
