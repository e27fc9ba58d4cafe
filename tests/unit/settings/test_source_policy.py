"""Source policies as buildx reads them from the file of EXPERIMENTAL_BUILDKIT_SOURCE_POLICY."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.policies import read_source_policy
from ci_buildx.settings.values import SourceConstraint, SourcePolicy, SourceRule, SourceSelector, SourceUpdate

VARIABLE = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
POLICY = {
    "version": 1,
    "rules": [
        {"action": "DENY", "selector": {"identifier": "docker-image://*"}},
        {
            "Action": "CONVERT",
            "selector": {
                "identifier": "https://host/(.*)",
                "match_type": "REGEX",
                "constraints": [{"key": "http.checksum", "value": "sha256:00", "condition": "NOTEQUAL"}],
            },
            "updates": {"identifier": "https://mirror/$1", "attrs": {"a": "b"}},
        },
        {"action": 0},
    ],
}


def test_a_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    constraint = SourceConstraint(key="http.checksum", value="sha256:00", condition=1)
    selector = SourceSelector(identifier="https://host/(.*)", match_type=2, constraints=(constraint,))
    update = SourceUpdate(identifier="https://mirror/$1", attrs={"a": "b"})
    settings = make_settings({"context": "."}, {}, {VARIABLE: "policy.json"}, tmp_path)
    assert settings.build.source_policy == SourcePolicy(
        version=1,
        rules=(
            SourceRule(action=1, selector=SourceSelector(identifier="docker-image://*")),
            SourceRule(action=2, selector=selector, updates=update),
            SourceRule(),
        ),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'p' is not JSON: "),
        ("[]", "the policy cannot be []; write "),
        ('{"rules": {}}', "rules cannot be {}; write "),
        ('{"rule": []}', "the policy has an unknown field 'rule'; did you mean 'rules'?"),
        ('{"rules": [{"action": "DENIED"}]}', "unknown action 'DENIED'; did you mean 'DENY'?"),
        ('{"rules": [{"action": 3}]}', "action cannot be 3; "),
        ('{"rules": [{"action": true}]}', "action cannot be true; "),
        ('{"rules": [{"selector": {"identifier": 7}}]}', "identifier cannot be 7; "),
        ('{"rules": [{"updates": {"attrs": {"a": 1}}}]}', "attrs cannot be {"),
    ],
)
def test_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(InputError) as caught:
        read_source_policy("p", cwd=tmp_path)
    assert str(caught.value).startswith(f"{VARIABLE}: {said}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{VARIABLE}: cannot read 'p': No such file or directory$"):
        read_source_policy("p", cwd=tmp_path)


names = st.sampled_from(["version", "rules", "action", "selector", "identifier", "constraints", "updates", "attrs"])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
def test_whatever_it_is_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "policy").write_text(json.dumps(value))
    try:
        read_source_policy("policy", cwd=folder)
    except InputError as error:
        assert "\n" not in str(error)
