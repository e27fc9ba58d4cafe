"""The passes that complete the Action's inputs, and switches whose default is true."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github import inputs, naming
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.settings.raw_values import RawValues, Value

ENV = {
    "GITHUB_REPOSITORY": "team/app",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_RUN_ID": "77",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF": "refs/tags/v1.2.3",
    "GITHUB_SHA": "0123456789abcdef0123456789abcdef01234567",
}
GIVEN: dict[str, Value] = {
    "images": "r.example/team/app",
    "tag-rules": "type=semver,pattern={{version}}",
    "tags": "r.example/team/app:mine",
    "labels": "a=b",
    "annotations": "c=d",
    "secrets": "one=1",
    "secret-envs": "two=TWO",
    "github-token": "token",
    "build-contexts": "base={{defaultContext}}:base",
    "attests": "type=provenance,mode=max",
    "outputs": "type=registry",
}


def make_given(values: dict[str, Value]) -> RawValues:
    return RawValues(values, {}, ENV, Path("/work"), offered.BY_NAME)


def test_their_order_does_not_matter() -> None:
    """Each reads the user's values of the inputs that it completes; two of them append secrets."""
    event, given = WorkflowEvent(env=ENV), make_given(GIVEN)
    passes: tuple[Callable[[RawValues], RawValues], ...] = (
        partial(naming.add_metadata, made=naming.make_metadata(given, event)),
        inputs.add_secrets,
        partial(inputs.add_contexts, event=event),
        partial(inputs.add_provenance, event=event),
    )
    results: list[dict[str, Any]] = []
    for ordered in permutations(passes):
        completed = given
        for add in ordered:
            completed = add(completed)
        secrets = completed.read_texts("secrets")
        assert len(secrets) == 3
        results.append({**completed.values, "secrets": sorted(secrets)})
    assert len(results) == 24
    assert all(result == results[0] for result in results)
    changed = {name for name, value in results[0].items() if value != GIVEN.get(name)}
    assert changed == {"tags", "labels", "annotations", "secrets", "context", "build-contexts", "attests"}


@pytest.mark.parametrize("name", ["logout", "use", "cleanup", "push"])
def test_a_switch_has_the_default_of_the_table(name: str) -> None:
    default = offered.BY_NAME[name].default == "true"
    assert default is (name != "push")
    for values in ({}, {name: ""}, {name: " "}):
        assert make_given({**values}).switch(name) is default
    for text, expected in (("true", True), ("false", False), (True, True), (False, False)):
        assert make_given({name: text}).switch(name) is expected
