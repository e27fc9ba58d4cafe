"""Answers to calls: what a frontend says, and what is no answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.build.calls import read_answer
from ci_buildx.errors import BuildkitError
from ci_buildx.settings.calls import LINT
from ci_buildx.settings.values import BuildSettings, FrontendCall


@pytest.mark.parametrize("method", ["outline", "targets", LINT])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("response", [{}, {"result.json": "", "result.txt": "", "result.statuscode": "0"}])
def test_no_answer_is_a_failure(method: str, as_json: bool, response: dict[str, str]) -> None:
    call = FrontendCall(method=method, json=as_json)
    with pytest.raises(BuildkitError, match=f"buildkitd returned no result for the call {method}; try again"):
        read_answer(BuildSettings(context=Path(), dockerfile=None), call, response)


def test_an_answer_is_inert() -> None:
    call = FrontendCall(method="outline")
    response = {"result.txt": "ARG \x1b]52;c;aGk=\x07NAME\n", "result.json": "{}"}
    assert read_answer(BuildSettings(context=Path(), dockerfile=None), call, response).text == "ARG NAME\n"
