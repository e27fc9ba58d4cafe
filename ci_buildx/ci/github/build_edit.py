"""The edit of one step: another action, and inputs and variables that are added, replaced or removed."""

from __future__ import annotations

from ci_buildx.ci.github.workflow import WorkflowStep
from ci_buildx.ci.migration.document import Entry, LineEdits, move_entry


class StepEdit:
    """Collects the changes of one step, whose own lines, comments and order stay."""

    def __init__(self, step: WorkflowStep) -> None:
        self.step = step
        self.first: list[list[str]] = []
        self.last: list[list[str]] = []
        self.replaced: dict[str, list[str]] = {}
        self.env: dict[str, Entry] = {}
        self.before: list[str] = []

    @property
    def indent(self) -> int:
        """The column of the inputs."""
        given = [entry.column for entry in self.step.inputs.values()]
        if given and self._is_block:
            return given[0]
        return self._key_column + 2

    @property
    def _key_column(self) -> int:
        return min(entry.column for entry in self.step.entries.values())

    @property
    def _is_block(self) -> bool:
        node = self.step.document.get_value(self.step.node, "with")
        return node is None or not node.flow_style

    def drop_input(self, name: str) -> None:
        """Remove an input."""
        self.replaced[name] = []

    def apply(self, edits: LineEdits, action: str) -> None:
        """Add the changes to the document's edits."""
        uses = self.step.entries["uses"]
        edits.set_scalar(uses.value, action)
        if self.before:
            edits.insert_lines(self.step.document.find_comments(self.step.first), self.before)
        self._edit_env(edits, uses)
        given = self.step.entries.get("with")
        rest = [name for name in self.step.inputs if name not in self.replaced or self.replaced[name]]
        if given is None or not self._is_block or not self.step.inputs:
            self._write_inputs(edits, given, uses)
        elif not (rest or self.first or self.last):
            edits.replace_lines(given.first, given.last)
        else:
            self._edit_lines(edits)

    def _write_inputs(self, edits: LineEdits, given: Entry | None, uses: Entry) -> None:
        kept = [
            self.replaced.get(name, move_entry(self.step.document, entry, name, self.indent))
            for name, entry in self.step.inputs.items()
        ]
        body = [line for lines in (*self.first, *kept, *self.last) for line in lines]
        if not body:
            return
        head = f"{' ' * self._key_column}with:"
        if given is None:
            edits.insert_lines(uses.last, [head, *body])
            return
        prefix = self.step.document.lines[given.first][: given.column]
        edits.replace_lines(given.first, given.last, [f"{prefix}with:", *body])

    def _edit_lines(self, edits: LineEdits) -> None:
        inputs = list(self.step.inputs.values())
        edits.insert_lines(inputs[0].first, [line for lines in self.first for line in lines])
        for name, lines in self.replaced.items():
            entry = self.step.inputs[name]
            edits.replace_lines(entry.first, entry.last, lines)
        edits.insert_lines(max(entry.last for entry in inputs), [line for lines in self.last for line in lines])

    def _edit_env(self, edits: LineEdits, uses: Entry) -> None:
        if not self.env:
            return
        indent = next((entry.column for entry in self.step.env.values()), self._key_column + 2)
        lines = [line for name, entry in self.env.items() for line in move_entry(entry.document, entry, name, indent)]
        if self.step.env:
            edits.insert_lines(max(entry.last for entry in self.step.env.values()), lines)
        else:
            edits.insert_lines(uses.last, [f"{' ' * self._key_column}env:", *lines])
