"""The command line: one module per verb, one error boundary."""

from ci_buildx.model.lazy import defer_modules

# pathlib needs them for Windows, for globs and for addresses in URLs; they would take 2 ms of every start.
with defer_modules("fnmatch", "ipaddress", "ntpath"):
    import pathlib  # noqa: F401
