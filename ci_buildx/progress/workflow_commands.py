"""What a runner of GitHub Actions reads in a log: our commands, and text of others, in which it must find none.

Commands of one form begin a line, perhaps after spaces; those of the other, ``##[name]``, are honoured anywhere. A lone
carriage return ends a line, too (actions/runner 2.330, ``src/Runner.Common/ActionCommand.cs``; .NET's ReadLine).
"""

from __future__ import annotations


class WorkflowCommand(str):
    """A line that the runner is to act on. What it holds of others' text is escaped."""

    __slots__ = ()


def escape_value(text: str) -> str:
    """The value of a command on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def defuse_commands(text: str) -> str:
    """Lines of text in which a runner finds no command."""
    lines = text.replace("\r\n", "\n").replace("\r", " ").replace("##[", "# #[").split("\n")
    return "\n".join(_defuse_line(line) for line in lines)


def _defuse_line(line: str) -> str:
    return line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line
