"""Answers to checks: findings, and the text that buildx 0.38.2 shows of them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.buildkit import diagnostics
from ci_buildx.errors import BuildkitError
from ci_buildx.model.status import CheckFinding, VertexWarning, read_finding

DOCKERFILE = "FROM scratch as base\nCOPY . /\nCMD echo hi\n"
PATH = Path("/src/docker/Dockerfile")
NAMES = {"Dockerfile": ("docker/Dockerfile", PATH)}
URL = "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"


def span(first: int, last: int) -> dict[str, Any]:
    return {"start": {"line": first}, "end": {"line": last}}


def answer(*warnings: dict[str, Any], **more: Any) -> str:
    source = {"filename": "Dockerfile", "data": base64.b64encode(DOCKERFILE.encode()).decode()}
    return json.dumps({"warnings": list(warnings), "sources": [source], **more})


def warning(rule: str, line: int, **more: Any) -> dict[str, Any]:
    return {"ruleName": rule, "detail": f"{rule} is broken", "location": {"ranges": [span(line, line)]}, **more}


def test_findings_in_the_order_of_the_file() -> None:
    checked = diagnostics.read_check_report(
        answer(warning("Later", 3), warning("First", 1, url=URL, description="Why")), NAMES
    )
    assert checked.findings == (
        CheckFinding(
            rule="First",
            message="First is broken",
            description="Why",
            url=URL,
            filename="Dockerfile",
            path=PATH,
            line=1,
            last_line=1,
        ),
        CheckFinding(rule="Later", message="Later is broken", filename="Dockerfile", path=PATH, line=3, last_line=3),
    )
    assert checked.text == (
        "Check complete, 2 warnings have been found!\n"
        f"\nWARNING: First - {URL}\nFirst is broken\ndocker/Dockerfile:1\n--------------------\n"
        "   1 | >>> FROM scratch as base\n   2 |     COPY . /\n   3 |     CMD echo hi\n"
        "--------------------\n"
        "\nWARNING: Later\nLater is broken\ndocker/Dockerfile:3\n--------------------\n"
        "   1 |     FROM scratch as base\n   2 |     COPY . /\n   3 | >>> CMD echo hi\n   4 |     \n"
        "--------------------\n"
    )


def test_nothing_found() -> None:
    assert diagnostics.read_check_report(answer(), NAMES) == diagnostics.CheckReport(
        findings=(), text="Check complete, no warnings found.\n"
    )


def test_an_error_ends_the_checks() -> None:
    error = {"message": "unknown instruction: COPPY", "location": {"ranges": [span(2, 2)]}}
    checked = diagnostics.read_check_report(answer(buildError=error), NAMES)
    assert checked.findings == (
        CheckFinding(
            rule="",
            message="unknown instruction: COPPY",
            filename="Dockerfile",
            path=PATH,
            line=2,
            last_line=2,
            fatal=True,
        ),
    )
    assert checked.text.startswith("ERROR: unknown instruction: COPPY\ndocker/Dockerfile:2\n")


def test_a_finding_without_a_place() -> None:
    checked = diagnostics.read_check_report(answer(warning("Old", 1, location={"sourceIndex": -1})), NAMES)
    assert checked.findings == (CheckFinding(rule="Old", message="Old is broken"),)
    assert checked.text == "Check complete, 1 warning has been found!\n\nWARNING: Old\nOld is broken\n"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", '{"warnings": 7}', '{"warnings": [7]}', '{"buildError": {"x": 1}}', '{"sources": [{"data": 7}]}'],
)
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(BuildkitError, match="invalid response to a check"):
        diagnostics.read_check_report(text, NAMES)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["warnings", "sources", "location", "ranges", "start", "line", "data", "sourceIndex"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(value=json_values)
def test_whatever_it_is_it_is_read_or_refused(value: Any) -> None:
    try:
        checked = diagnostics.read_check_report(json.dumps(value), NAMES)
    except BuildkitError:
        return
    assert checked.text.endswith("\n")


@pytest.mark.parametrize(
    ("short", "rule", "message"),
    [
        ("JSONArgsRecommended: use JSON (line 4)", "JSONArgsRecommended", "use JSON"),
        ("something: of another frontend (line 9)", "something", "of another frontend (line 9)"),
        ("no rule at all: x", "", "no rule at all: x"),
    ],
)
def test_a_finding_of_a_build(short: str, rule: str, message: str) -> None:
    found = read_finding(
        VertexWarning(vertex="v", short=short, detail=("a", "b"), url=URL, filename="Dockerfile", ranges=((4, 5),)),
        PATH,
    )
    assert found == CheckFinding(
        rule=rule,
        message=message,
        description="a b",
        url=URL,
        filename="Dockerfile",
        path=PATH,
        line=4,
        last_line=5,
    )
