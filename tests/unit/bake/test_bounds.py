"""What the definition of a stranger cannot make of a job: more time or memory than it may have."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from ci_buildx.bake import definitions
from ci_buildx.bake.definitions import DefinitionContext, DefinitionFile, load_definition
from ci_buildx.errors import InputError
from ci_buildx.hcl.limits import MOST_CHARACTERS, MOST_ITEMS
from ci_buildx.runtime.signals import limit_time

CONTEXT = DefinitionContext(builtins={}, given={}, env={}, cwd=Path("/"))
NAME = "docker-bake.hcl"


def load(text: str) -> None:
    load_definition([DefinitionFile(name=NAME, text=text)], CONTEXT)


def as_argument(expression: str) -> str:
    return f'target "a" {{\n args = {{ X = {expression} }}\n}}\n'


@pytest.mark.parametrize(
    "expression",
    [
        'regex_replace("' + "a" * 40 + '!", "^(a+)+$", "b")',
        'can(regex("^(a|aa)+$", "' + "a" * 60 + '!")) ? "yes" : "no"',
        "length([for a in range(1024) : [for b in range(1024) : [for c in range(1024) : a + b + c]]])",
    ],
)
def test_an_evaluation_ends_in_time(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LONGEST is lowered, since nothing but the time is measured."""
    monkeypatch.setattr(definitions, "LONGEST", 0.5)
    with pytest.raises(InputError, match=r"the evaluation took more than 0\.5 seconds") as caught:
        load(as_argument(expression))
    assert caught.value.source == NAME


def test_other_threads_have_no_limit_and_no_signal_is_left() -> None:
    def refuse() -> InputError:
        return InputError("late")

    ended = []

    def work() -> None:
        with limit_time(0.01, refuse):
            time.sleep(0.05)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with limit_time(0.05, refuse):
        pass
    time.sleep(0.1)
    assert ended == [True]


@pytest.mark.parametrize(
    "expression",
    [
        'join("' + "s" * 3000 + '", split("", "' + "x" * 3000 + '"))',
        'replace("' + "x" * 3000 + '", "x", "' + "y" * 3000 + '")',
        'regex_replace("' + "x" * 3000 + '", "x", "' + "y" * 3000 + '")',
        'indent(10000, "' + "\\n" * 3000 + '")',
        '"%{ for a in range(1024) }' + "x" * 5000 + '%{ endfor }"',
    ],
)
def test_a_text_has_a_length(expression: str) -> None:
    with pytest.raises(InputError, match=f"the text has more than {MOST_CHARACTERS} characters"):
        load(as_argument(expression))


def test_lines_that_double_a_text_end_at_its_length() -> None:
    lines = ['variable "V0" { default = "' + "x" * 100 + '" }']
    lines += [f'variable "V{n}" {{ default = "{f"${{V{n - 1}}}" * 50}" }}' for n in range(1, 8)]
    with pytest.raises(InputError, match=f"more than {MOST_CHARACTERS} characters"):
        load("\n".join(lines) + "\n" + as_argument("V7"))


def test_a_product_has_a_size() -> None:
    expression = "length(setproduct(range(1000), range(1000)))"
    with pytest.raises(InputError, match=f"more than {MOST_ITEMS} elements"):
        load(as_argument(expression))
