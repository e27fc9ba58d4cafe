"""Expressions: what they mean, and that no text makes the parser or the evaluator crash."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci_buildx.hcl.bodies import parse_body
from ci_buildx.hcl.evaluation import evaluate
from ci_buildx.hcl.functions.table import REFUSED, UNEVALUATED, make_functions
from ci_buildx.hcl.json_syntax import parse_json_body
from ci_buildx.hcl.scope import Scope
from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.types.json_values import encode_json
from ci_buildx.hcl.types.values import make_string

FUNCTIONS = make_functions("/home/u")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBERS = st.integers(-(10**12), 10**12)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def compute(text: str, **variables: str) -> Any:
    """Return the value of an expression, as JSON has it."""
    body = parse_body(f"x = {text}\n", "test.hcl")
    argument = body.find_argument("x")
    assert argument is not None
    scope = Scope({name: make_string(one) for name, one in variables.items()}, FUNCTIONS)
    return json.loads(encode_json(evaluate(argument.expression, scope)))


def write(value: Any) -> str:
    """Write a value as an expression."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"({write(key)}) = {write(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write, value)) + "]"
    if isinstance(value, str):
        return _spell(json.dumps(value, ensure_ascii=False)).replace("${", "$${").replace("%{", "%%{")
    return json.dumps(value)


def _spell(text: str) -> str:
    """Write the two escapes that JSON has and HCL has not by their numbers. A backslash may itself be escaped."""
    numbers = {"\\b": "\\u0008", "\\f": "\\u000c"}
    return re.sub(r"\\.", lambda found: numbers.get(found[0], found[0]), text)


@given(VALUES)
@example({"\\b": "\b\\\f"})
def test_a_value_written_as_an_expression_is_that_value(value: Any) -> None:
    assert compute(write(value)) == _normalize(value)


def _normalize(value: Any) -> Any:
    """Return a value as HCL has it: text in Unicode's form NFC."""
    from unicodedata import normalize

    if isinstance(value, str):
        return normalize("NFC", value)
    if isinstance(value, list):
        return [_normalize(one) for one in value]
    if isinstance(value, dict):
        return {_normalize(key): _normalize(one) for key, one in value.items()}
    return value


@given(NUMBERS, NUMBERS)
def test_arithmetic_is_exact(left: int, right: int) -> None:
    assert compute(f"{left} + {right}") == left + right
    assert compute(f"{left} * ({right})") == left * right
    assert compute(f"({left}) < ({right})") == (left < right)


@given(TEXTS, TEXTS)
def test_interpolation_is_concatenation(left: str, right: str) -> None:
    from unicodedata import normalize

    shown = compute('"${a}-${b}"', a=left, b=right)
    assert normalize("NFC", shown) == normalize("NFC", f"{left}-{right}")


@settings(max_examples=300)
@given(st.text(alphabet='ab1 ="${}%~[]():?.,*!<>-+/#\n\\|&ifor', max_size=40))
def test_any_text_is_a_document_or_an_error_with_a_position(text: str) -> None:
    try:
        parse_body(text, "test.hcl")
    except HclError as error:
        assert error.where is not None
        assert str(error).startswith("test.hcl:")


@settings(max_examples=200)
@given(st.text(alphabet='{}[]":,1truefalsnl\\ ', max_size=30))
def test_any_text_is_json_or_an_error_with_a_position(text: str) -> None:
    try:
        parse_json_body(text, "test.json")
    except HclError as error:
        assert error.where is not None


@given(st.integers(1, 400))
def test_deep_nesting_is_an_error_and_never_a_crash(depth: int) -> None:
    try:
        parse_body("x = " + "[" * depth + "]" * depth + "\n", "test.hcl")
    except HclError as error:
        assert error.where is not None


def test_the_table_has_every_function_of_buildx() -> None:
    names = {*FUNCTIONS, *UNEVALUATED}
    assert len(names) >= 106
    assert names >= {"cidrsubnet", "regexall", "setproduct", "uuidv4", "semvercmp", "urlencode", "try"}
    assert set(REFUSED) == {"bcrypt"}


def test_a_refused_function_says_so_by_name() -> None:
    with pytest.raises(HclError, match="bcrypt is not supported"):
        compute('bcrypt("x")')


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_no_function_crashes_on_values_of_any_type(name: str) -> None:
    for values in ((), ("null",), ('"x"',), ("1", "2"), ('["a"]', "-1"), ("{}", '"a"', "true"), ("[]", "[]", "[]")):
        try:
            compute(f"{name}({', '.join(values)})")
        except HclError as error:
            assert error.where is not None


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    """No file and no terminal could hold it."""
    assert compute("jsondecode(given)", given='["\\ud800", "\\ud83d\\ude00"]') == ["\ufffd", "😀"]
    body = parse_json_body('{"x": "a\\udfff"}', "test.json")
    argument = body.find_argument("x")
    assert argument is not None
    assert evaluate(argument.expression, Scope({}, FUNCTIONS)) == make_string("a\ufffd")
    assert make_string("b\udc80") == make_string("b\ufffd")


@pytest.mark.parametrize("text", ["[" * 5000, "-" * 20_000 + "1", "(" * 3000, '"${' * 2000, "{a=" * 3000, "!" * 5000])
def test_deep_expressions_are_refused_by_position(text: str) -> None:
    with pytest.raises(HclError) as refusal:
        compute(text)
    assert refusal.value.where is not None
