"""Our templates against Go's text/template, over templates of this module and random ones."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from devcluster import toolchain
from tests.unit.gotemplate.samples import DOCUMENT, evaluate

SOURCE = Path(__file__).parents[2] / "differential" / "gotemplate"
_TEXTS = (".Author", ".OS", ".Platform.OS", ".Any.text", '"lit\\t\\u00e9"', "`raw`", '(index .Labels "a")', "$.Variant")
_INTEGERS = (".Size", "3", "-1", "0x1f", "'a'", "(len .Env)", "(index .Entries 1).Size", ".First.Size")
_LISTS = (".Env", ".Entries", ".Any.list", ".Empty", ".Missing", ".Labels", ".Any.nested", ".None", ".Ports")
_VALUES = (*_TEXTS, *_INTEGERS, *_LISTS, ".Ratio", ".Big", ".Created", ".Any", ".First", "true", "1.5e3", ".Any.no")


def build(folder: Path) -> Path:
    """Compile the Go program into ``folder``."""
    program = folder / "gotemplate"
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "", "CGO_ENABLED": "0"}
    subprocess.run([toolchain.go(), "build", "-o", program, "."], cwd=SOURCE, env=environment, check=True, timeout=600)
    return program


def ask(program: Path, templates: Sequence[str], document: Any = DOCUMENT) -> list[dict[str, str]]:
    """Return Go's answers: a text or an error each."""
    lines = "".join(json.dumps({"template": one, "document": document}) + "\n" for one in templates)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def list_differences(templates: Sequence[str], program: Path) -> Iterator[str]:
    """Yield a line for each template of which Go makes something else."""
    for template, answer in zip(templates, ask(program, templates), strict=True):
        try:
            found = evaluate(template)
        except InputError as error:
            if "text" in answer and "address of a pointer" not in str(error):
                yield f"{template!r}: Go makes {answer['text']!r}, we refuse it: {error}"
            continue
        if found != answer.get("text"):
            yield f"{template!r}: Go makes {answer}, we make {found!r}"


def make_templates(seeds: Iterable[int]) -> list[str]:
    """Return a random template for each seed."""
    return [_make_nodes(random.Random(seed), 3) for seed in seeds]


def _make_nodes(choice: random.Random, depth: int) -> str:
    return "".join(_make_node(choice, depth) for _ in range(choice.randint(1, 3)))


def _make_node(choice: random.Random, depth: int) -> str:
    left, right = choice.choice(("{{", "{{- ")), choice.choice(("}}", " -}}"))
    kind = choice.randrange(8 if depth else 4)
    if kind == 0:
        return choice.choice((" text ", "\n", "é", "{", "{{/* note */}}", "{{- /* note */ -}}"))
    if kind < 4:
        return f"{left}{_make_pipeline(choice, depth)}{right}"
    inner, other = _make_nodes(choice, depth - 1), _make_nodes(choice, depth - 1)
    if kind == 4:
        middle = choice.choice((f"{{{{else if {_pick(choice)}}}}}{other}", "")) + f"{{{{else}}}}{other}"
        return f"{left}if {_make_pipeline(choice, depth)}{right}{inner}{middle}{{{{end}}}}"
    if kind == 5:
        return f'{left}with {_pick(choice)}{right}{{{{printf "%v" .}}}}{{{{else}}}}{inner}{{{{end}}}}'
    if kind == 6:
        body = choice.choice(
            ("{{$k}}={{json $e}};", "{{if $k}}{{break}}{{end}}{{$k}}", "{{if $e}}{{continue}}{{end}}{{.}}")
        )
        return f"{left}range $k, $e := {choice.choice(_LISTS)}{right}{body}{{{{else}}}}{inner}{{{{end}}}}"
    return f"{{{{$v := {_pick(choice)}}}}}{left}json $v{right}{{{{$v = {_pick(choice)}}}}}{{{{json $v}}}}"


def _make_pipeline(choice: random.Random, depth: int) -> str:
    first, second = _pick(choice), _pick(choice)
    text, number = choice.choice(_TEXTS), choice.choice(_INTEGERS)
    made = choice.choice(
        (
            first,
            f"json {first}",
            f"{first} | json",
            f"len {first}",
            f"print {first} {second} {text}",
            f"println {first} {second}",
            f'printf "%v|%s|%d|%5d|%-4s|%05d|%x|%q%%" {first} {text} {number} {number} {text} {number} {text} {text}',
            f'printf "%.2f %t %c" .Ratio .Big {number}',
            f"index .Any.list {number}",
            f"index .Labels {text}",
            f"slice .Env {number}",
            f"slice {text} 1 {number}",
            f"{choice.choice(('eq', 'ne', 'lt', 'le', 'gt', 'ge'))} {first} {second}",
            f"{choice.choice(('and', 'or'))} {first} {second} {number}",
            f"not {first}",
            f'html {text} | upper | printf "%s"',
            f"urlquery {text}",
            f'join .Env {text} | split "=" | json',
            f"title (lower {text})",
        )
    )
    return f'({made}) | printf "%v"' if depth and choice.random() < 0.2 else made


def _pick(choice: random.Random) -> str:
    return choice.choice(_VALUES)
