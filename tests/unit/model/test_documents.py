"""JSON, YAML and TOML of others: a value or MalformedDocument, soon, and with little memory."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ci_buildx
from ci_buildx.model import documents
from ci_buildx.model.documents import MalformedDocument, parse_json, parse_toml, parse_yaml

PRODUCT = Path(ci_buildx.__file__).parent
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ("9" * 5000, "a number of 5000 digits is too large"),
        ("1e999", "a number is too large"),
        ("[-1e999]", "a number is too large"),
        ("NaN", "NaN is not a JSON value"),
        ('{"a": Infinity}', "Infinity is not a JSON value"),
        (b"\xff\xfe\xff", ""),
        (b'"\xed\xa0\x80"', "invalid continuation byte"),
        ('{"a": \n x}', "Expecting value: line 2 column 2"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json(text: str | bytes, problem: str) -> None:
    with pytest.raises(MalformedDocument) as caught:
        parse_json(text)
    assert problem in caught.value.problem


def test_json_that_is_sound() -> None:
    assert parse_json(b'{"a": [1, -2.5, 18446744073709551615, null]}') == {"a": [1, -2.5, 2**64 - 1, None]}
    assert parse_json('"a\nb"', strict=False) == "a\nb"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud800"', "\ufffd"),
        (r'"a\uDFFFb\ud83d\ude00\ude00"', "a\ufffdb😀\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (r'"\\ud800 \\\ud800 \u00e9\n"', "\\ud800 \\\ufffd é\n"),
        (r'{"\udc00": ["\udc00"]}', {"\ufffd": ["\ufffd"]}),
    ],
)
def test_half_of_a_surrogate_pair_becomes_a_character_that_can_be_written(text: str, value: object) -> None:
    assert parse_json(text) == parse_json(text.encode()) == value


@given(st.recursive(st.text(st.characters()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_no_json_has_a_surrogate(value: object) -> None:
    text = json.dumps(value)
    json.dumps(parse_json(text), ensure_ascii=False).encode()
    if not any("\ud800" <= char <= "\udfff" for char in json.dumps(value, ensure_ascii=False)):
        assert parse_json(text) == value


YAML = {
    "deep": "- " * 20_000 + "x",
    "deep flow": "a: " + "[" * 3000 + "]" * 3000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1500)),
    "aliases": LAUGHS,
    "alias of itself": "a: &a [*a]",
    "alias in a key": "&a {*a : b}",
    "date": "a: 2024-99-99",
    "number": "a: " + "9" * 5000,
    "integer": "!!int x",
    "timestamp": "!!timestamp x",
    "boolean": "!!bool x",
    "object": "!!python/object/apply:os.system ['id']",
    "key": "{[a]: b}",
    "NUL": "a: \0",
    "tab": "a:\n\t- b",
    "surrogate": r'a: "\ud800"',
    "surrogate in a key": r'"\udfff": b',
}


@pytest.mark.parametrize("name", YAML)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_yaml(name: str, loader: type) -> None:
    begun = time.process_time()
    with pytest.raises(MalformedDocument) as caught:
        parse_yaml(YAML[name], loader)
    assert time.process_time() - begun < 20
    assert "\n" not in caught.value.problem
    assert len(caught.value.problem) < 200


def test_yaml_that_is_sound() -> None:
    assert parse_yaml("[" * documents.DEEPEST + "]" * documents.DEEPEST)
    assert (
        len(parse_yaml("a: &a x\nb: [" + "*a," * (documents.MOST_VALUES - 10) + "]")["b"]) == documents.MOST_VALUES - 10
    )
    assert parse_yaml("a: &a {b: 1}\nc: [*a, *a]") == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}
    assert parse_yaml("") is None
    with pytest.raises(MalformedDocument) as caught:
        parse_yaml("a: b\nc: [")
    assert (caught.value.line, caught.value.column) == (2, 5)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 5000,
        "a" + ".a" * 100_000 + " = 1",
        "[" + "a." * 20_000 + "a]",
        "a = " + "9" * 5000,
        "a = 2024-99-99",
        "a = 1\n" * documents.LONGEST_TOML,
    ],
    ids=lambda text: text[:12],
)
def test_toml(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(MalformedDocument):
        parse_toml(text)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("parse", [parse_json, parse_yaml, parse_toml])
def test_any_text(parse: Callable[[str], object]) -> None:
    @given(st.text(max_size=40) | st.text(alphabet='[]{}:-&*!"a1.e\n ', max_size=40))
    def check(text: str) -> None:
        try:
            parse(text)
        except MalformedDocument as error:
            assert error.problem

    check()


def test_nothing_else_reads_documents() -> None:
    """A module that calls a library itself meets its errors of all kinds."""
    readers = {("json", "loads"), ("json", "load"), ("yaml", "safe_load"), ("yaml", "load"), ("tomllib", "loads")}
    own = {
        "documents.py": ["loads", "loads"],
        "exchange.py": ["loads"],
        # The hcl package imports no other package of ours. Both modules convert the errors of the library.
        "json_syntax.py": ["loads"],
        "json_values.py": ["loads"],
        "preview.py": ["loads"],
    }
    found: dict[str, list[str]] = {}
    for path in PRODUCT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if (node.value.id, node.attr) in readers:
                found.setdefault(path.name, []).append(node.attr)
    assert found == own, "use ci_buildx/model/documents.py, unless kube-builder itself wrote the text"
