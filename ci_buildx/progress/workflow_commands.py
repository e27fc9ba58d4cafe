"""Workflow commands of GitHub Actions, and the escaping of untrusted text so that it contains none.

Commands of one form start a line, possibly after spaces; those of the other, ``##[name]``, are recognized anywhere. A
lone carriage return also ends a line (actions/runner 2.330, ``src/Runner.Common/ActionCommand.cs``; .NET's ReadLine).
"""

from __future__ import annotations


class WorkflowCommand(str):
    """A line that the runner is to interpret; untrusted text in it is escaped."""

    __slots__ = ()


def escape_value(text: str) -> str:
    """Escape a command's value, so that it stays on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def defuse_commands(text: str) -> str:
    """Return the text with all commands broken up, so that the runner finds none."""
    lines = text.replace("\r\n", "\n").replace("\r", " ").replace("##[", "# #[").split("\n")
    return "\n".join(_defuse_line(line) for line in lines)


def _defuse_line(line: str) -> str:
    return line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line
