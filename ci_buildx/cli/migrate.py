"""``kube-builder migrate``."""

from __future__ import annotations

import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_buildx.cli.arguments import STDIN
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

if TYPE_CHECKING:
    from ci_buildx.ci.migration.report import MigratedFile

SUMMARY = (
    "Migrates CI files to kube-builder: GitHub workflows and actions with docker's actions, and GitLab pipelines with "
    "kaniko or docker. Prints the new file on standard output and a report on standard error. Steps that "
    "cannot be replaced are left unchanged."
)
EXAMPLES = f"""\
examples:
  kube-builder migrate .github/workflows/image.yml
  kube-builder migrate --diff .github/workflows/*.yml
  kube-builder migrate --write .gitlab-ci.yml

{EXIT_CODES}"""
_SWITCHES = (
    Option(
        name="diff", flags=("--diff",), kind=OptionKind.SWITCH, group=OptionGroup.RESULT, help="print a unified diff"
    ),
    Option(name="write", flags=("--write",), kind=OptionKind.SWITCH, group=OptionGroup.RESULT, help="change the files"),
    Option(
        name="check",
        flags=("--check",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.RESULT,
        help="print only the report; exit with 1 if manual work remains",
    ),
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Migrate the files. Returns 1 if ``--check`` is given and something needs a hand."""
    parser = VerbParser("migrate", "[OPTIONS] FILE…", SUMMARY, examples=EXAMPLES)
    parser.add_argument_group("Arguments").add_argument(
        "file", nargs="*", metavar="FILE", help="workflow, action.yml or .gitlab-ci.yml, or - for stdin"
    )
    parser.add_options(_SWITCHES)
    parser.offer_help()
    given = ParsedArguments(parser.read(argv))
    files = given.read_texts("file")
    diff, write, check = (given.switch(option.name) for option in _SWITCHES)
    if not files:
        raise InputError("missing file", fix="name a file of .github/workflows, or .gitlab-ci.yml")
    if len(files) > 1 and not (diff or write or check):
        raise InputError("several files are named", fix="add --diff, --write or --check")
    if write and STDIN in files:
        raise InputError("stdin cannot be changed", source="--write", fix="name a file, or omit --write")
    from ci_buildx.ci.migration.report import format_report

    results = [(file, text := _read_file(file, around), _migrate_text(text, file)) for file in files]
    if len(results) == 1 and not results[0][2].notes:
        raise InputError("builds no images with docker or kaniko", source=files[0], fix="name a file that does")
    for file, text, result in results:
        around.stderr.write(around.mask(format_report(file, result)))
        if diff:
            around.stdout.write(_make_diff(file, text, result.text))
        if write:
            _write_file(around.cwd / file, text, result.text, around)
        elif not (diff or check):
            around.stdout.write(result.text)
    return 1 if check and any(result.needs_hand for *_, result in results) else 0


def _read_file(file: str, around: ProcessContext) -> str:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else (around.cwd / file).read_bytes()
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"cannot be read: {reason}", source=file) from error


def _migrate_text(text: str, file: str) -> MigratedFile:
    if _is_of_gitlab(text, file):
        from ci_buildx.ci.gitlab.migrate import migrate_pipeline

        return migrate_pipeline(text, source=file)
    from ci_buildx.ci.github.migrate import migrate_workflow

    return migrate_workflow(text, source=file)


def _is_of_gitlab(text: str, file: str) -> bool:
    """Return whether a file is GitLab's, by its name or, on stdin, by the lack of a workflow's jobs."""
    if "gitlab-ci" in Path(file).name:
        return True
    heads = {line.partition(":")[0] for line in text.splitlines() if line[:1].isalpha()}
    return not heads & {"jobs", "runs"} and any(line.strip().startswith("script:") for line in text.splitlines())


def _make_diff(file: str, old: str, new: str) -> str:
    from difflib import unified_diff

    lines = unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{file}", f"b/{file}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _write_file(path: Path, old: str, new: str, around: ProcessContext) -> None:
    """Replace a file's content; one that does not change is not touched. Raises InputError."""
    if new == old:
        return
    real = refuse_escape(path, source="--write", env=around.env).resolve()
    try:
        mode = stat.S_IMODE(real.stat().st_mode)
        scratch.replace(real, new.encode(), mode=mode)
        real.chmod(mode)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=str(path)) from error
