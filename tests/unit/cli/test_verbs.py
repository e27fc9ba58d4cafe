"""Verbs of two words: how they are found, listed, refused and documented. The table is the test's own."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from bundle import commands
from ci_buildx.cli import main
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext

TABLE = {
    "ls": "list the trees",
    "fruit peel": "peel a fruit",
    "fruit slice": "slice a fruit",
    "version": "show the version",
}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, and the module of one of its verbs, which prints its arguments."""

    def make_parser() -> VerbParser:
        parser = VerbParser("fruit peel", "[OPTIONS] NAME", "Peels a fruit.", examples="")
        parser.add_argument("name", metavar="NAME", help="the fruit")
        parser.offer_help()
        return parser

    def run_verb(argv: Sequence[str], around: ProcessContext) -> int:
        around.stdout.write(f"peeled {make_parser().read(argv)['name']}\n")
        return 0

    module = ModuleType("ci_buildx.cli.fruit_peel")
    module.__dict__.update(main=run_verb, make_parser=make_parser)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(main, "VERBS", TABLE)


def run(*argv: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = main.main(argv, ProcessContext(env={}, cwd=Path("/"), stdout=stdout, stderr=stderr))
    return code, stdout.getvalue(), stderr.getvalue()


def test_runs() -> None:
    assert run("fruit", "peel", "kiwi") == (0, "peeled kiwi\n", "")


@pytest.mark.parametrize(
    "argv",
    [
        ("--debug", "fruit", "peel", "kiwi"),
        ("fruit", "-D", "peel", "kiwi"),
        ("fruit", "peel", "--debug=true", "kiwi"),
        ("--debug=false", "fruit", "--debug", "peel", "kiwi"),
    ],
)
def test_debug_precedes_and_follows_each_word(argv: tuple[str, ...]) -> None:
    code, stdout, stderr = run(*argv)
    assert (code, stdout) == (0, "peeled kiwi\n")
    assert " fruit peel, Python " in stderr.splitlines()[0]


@pytest.mark.parametrize(
    "argv", [("fruit",), ("fruit", "--help"), ("fruit", "-h"), ("fruit", "help"), ("-D", "fruit", "-D", "--help")]
)
def test_the_first_words_help_lists_the_second_words(argv: tuple[str, ...]) -> None:
    expected = f"""\
usage: kube-builder fruit VERB [OPTIONS]

Run kube-builder fruit VERB --help for the options of a verb.

verbs:
  peel    peel a fruit
  slice   slice a fruit

{EXIT_CODES}"""
    assert run(*argv) == (0, expected, "")


def test_the_help_lists_both_words() -> None:
    code, stdout, _ = run("--help")
    assert code == 0
    assert "\n  ls            list the trees\n  fruit peel    peel a fruit\n  fruit slice   slice a fruit\n" in stdout


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("fruit", "pel"), "fruit: unknown verb 'pel'; did you mean 'peel'?"),
        (("fruit", "xyzzy", "--help"), "fruit: unknown verb 'xyzzy'; known: peel, slice"),
        (("fruit", "--debug", "ls"), "fruit: unknown verb 'ls'; known: peel, slice"),
        (("fruit", "--version"), "fruit: unknown option '--version'; known: peel, slice"),
        (("friut", "peel"), "unknown verb 'friut'; did you mean 'fruit'?"),
        (("peel",), "unknown verb 'peel'; known: ls, fruit, version"),
        (("fruit peel", "kiwi"), "unknown verb 'fruit peel'; did you mean 'fruit'?"),
        (("fruit_peel", "kiwi"), "unknown verb 'fruit_peel'; did you mean 'fruit'?"),
        (("fruit", "peel", "--xyzzy"), "unknown option --xyzzy; see kube-builder fruit peel --help"),
    ],
)
def test_refuses_in_one_line(argv: tuple[str, ...], message: str) -> None:
    assert run(*argv) == (2, "", f"kube-builder: error: {message}\n")


def test_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("fruit", "peel", "--help")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: kube-builder fruit peel [OPTIONS] NAME\n")


def test_the_reference_has_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "VERBS", {name: TABLE[name] for name in ("fruit peel", "version")})
    section = "## fruit peel\n\nPeel a fruit.\n\n    kube-builder fruit peel [OPTIONS] NAME\n\nPeels a fruit.\n"
    assert section in commands.page()


def test_a_verb_may_begin_with_the_words_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "fruit peel thin", "peel a fruit thinly")
    assert main.find_verb(["fruit", "peel", "thin", "kiwi"]) == ("fruit peel thin", ["kiwi"])
    assert main.find_verb(["fruit", "peel", "kiwi", "thin"]) == ("fruit peel", ["kiwi", "thin"])
    assert main.find_verb(["fruit", "peel"]) == ("fruit peel", [])
