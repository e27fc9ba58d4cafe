"""Definitions of our own making, and what docker buildx 0.38.2 answers to each.

``cases/*.txt`` holds cases: ``=== NAME ARGUMENTS | VARIABLES``, then files after ``--- PATH``. The answers in
``expected.json`` were written by ``python -m tests.unit.bake.corpus BUILDX``, which runs that program.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
DEVIATIONS = {
    "call-bad": "buildx prints a method that it then cannot call",
    "compose-integers": "a date is the text that the file has; buildx prints a Go time",
    "error-bracket": "we point to what is there instead",
    "error-json-escape": "we point to the escape",
    "error-label-template": "we point to the whole label so far",
    "error-object-key-null": "we point to the key",
    "error-rsadecrypt": "we say which argument is wrong",
    "error-template-else": "we point to the directive without its end",
    "compose-full": "buildx reads a ulimit with a single number as 0:0",
    "error-divide-by-zero": "buildx goes on with an infinite number",
    "error-heredoc-unterminated": "we point to the opening",
    "error-template-directive": "we point to the directive",
    "function-bcrypt": "refused by name: a salted hash in a definition never gives the same build",
    "guess-nothing": "buildx makes up a file name",
    "json-bad": "we point behind the comma",
}
"""Cases in which we differ from buildx on purpose, and why."""
_PLACE = re.compile(r"\b([\w./-]+:\d+,\d+-(?:\d+,)?\d+)")


class Case(NamedTuple):
    """One command: arguments, variables, and files by their paths."""

    name: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    @property
    def command(self) -> list[str]:
        """The arguments of ``bake``, which only prints."""
        listed = any(one.startswith("--list") for one in self.arguments)
        return [*self.arguments, *(() if listed else ("--print",))]


class Answer(NamedTuple):
    """What a command prints: a document or a table on stdout, or else its error and where that is."""

    stdout: str
    error: str = ""
    place: str = ""


def read_cases() -> dict[str, Case]:
    """Return all cases by name."""
    found = {}
    for path in sorted((HERE / "cases").glob("*.txt")):
        for block in re.split(r"(?m)^=== ", path.read_text())[1:]:
            head, _, rest = block.partition("\n")
            words, _, variables = head.partition(" | ")
            name, *arguments = shlex.split(words)
            env = dict(one.split("=", 1) for one in variables.split(" ") if one)
            parts = re.split(r"(?m)^--- (.+)\n", rest)[1:]
            files = dict(zip(parts[::2], parts[1::2], strict=True))
            assert name not in found, name
            found[name] = Case(name, tuple(arguments), env, files)
    return found


def ask_us(case: Case, folder: Path) -> Answer:
    """Run our own command."""
    case.write(folder)
    stdout, stderr = io.StringIO(), io.StringIO()
    around = ProcessContext(env={"HOME": "/home/u", **case.env}, cwd=folder, stdout=stdout, stderr=stderr)
    code = main(["bake", *case.command], around)
    if code == 0:
        return Answer(stdout.getvalue())
    assert code == 2, stderr.getvalue()
    lines = [line for line in stderr.getvalue().splitlines() if not line.startswith("#")]
    return _make_failure("\n".join(lines).removeprefix("kube-builder: error: "))


def ask_buildx(program: str, case: Case, folder: Path) -> Answer:
    """Run buildx."""
    case.write(folder)
    env = {"HOME": "/home/u", "PATH": "/usr/bin:/bin", "BUILDX_CONFIG": str(folder / ".buildx"), **case.env}
    done = subprocess.run(
        [program, "bake", *case.command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return Answer(done.stdout)
    lines = done.stderr[done.stderr.index("ERROR: ") :] if "ERROR: " in done.stderr else done.stderr
    return _make_failure(lines.removeprefix("ERROR: ").strip())


def _make_failure(text: str) -> Answer:
    places = [one for one in _PLACE.findall(text) if one[0] not in ".-/"]
    return Answer("", text, places[0] if places else "")


def normalize(stdout: str) -> object:
    """Return what is printed, without the orders that are random in buildx, those of its maps.

    These are a group's targets if it has a matrix, and the limits of a compose file.
    """
    try:
        document = json.loads(stdout)
    except ValueError:
        return stdout
    if isinstance(document, dict):
        for group in document.get("group", {}).values():
            group["targets"] = sorted(group["targets"])
        for target in document.get("target", {}).values():
            if "ulimits" in target:
                target["ulimits"] = sorted(target["ulimits"])
    return document


def compare(ours: Answer, theirs: Answer) -> Iterator[str]:
    """Yield what differs between two answers."""
    if bool(ours.error) != bool(theirs.error):
        yield f"we: {ours.error or 'success'}; buildx: {theirs.error or 'success'}"
    elif not ours.error and normalize(ours.stdout) != normalize(theirs.stdout):
        yield f"we print\n{ours.stdout}\nbuildx prints\n{theirs.stdout}"
    elif ours.place != theirs.place:
        yield f"we: {ours.error}\nbuildx: {theirs.error}"


def write_expected(program: str) -> None:
    """Write the answers of buildx."""
    answers = {}
    for name, case in read_cases().items():
        with tempfile.TemporaryDirectory() as folder:
            answers[name] = ask_buildx(program, case, Path(folder))._asdict()
    EXPECTED.write_text(json.dumps(answers, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def read_expected() -> dict[str, Answer]:
    """Return the stored answers of buildx."""
    return {name: Answer(**one) for name, one in json.loads(EXPECTED.read_text()).items()}


if __name__ == "__main__":
    write_expected(sys.argv[1])
