"""The current builder: a choice of this user on this machine, for each context."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.manage import target
from ci_buildx.manage.target import CurrentBuilder
from ci_buildx.settings.values import ClusterSettings

KUBE, OTHER = CurrentBuilder(builder="kube", namespace="buildkit"), CurrentBuilder(builder="other", namespace="ci")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The variables of a user whose kubeconfig has two contexts."""
    contexts = [{"name": name, "context": {"cluster": "c"}} for name in ("one", "two")]
    config = {
        "current-context": "one",
        "contexts": contexts,
        "clusters": [{"name": "c", "cluster": {"server": "https://c"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return {"KUBECONFIG": str(path), "XDG_STATE_HOME": str(tmp_path / "state")}


def test_each_context_has_its_own(env: dict[str, str]) -> None:
    one, two = ClusterSettings(), ClusterSettings(context="two")
    assert target.read_current(one, env) is None
    target.write_current(KUBE, one, env)
    target.write_current(OTHER, two, env)
    assert (target.read_current(one, env), target.read_current(two, env)) == (KUBE, OTHER)
    target.write_current(None, one, env)
    assert (target.read_current(one, env), target.read_current(two, env)) == (None, OTHER)


def test_one_for_all_contexts(env: dict[str, str]) -> None:
    one, two = ClusterSettings(), ClusterSettings(context="two")
    target.write_current(OTHER, two, env)
    target.write_current(KUBE, one, env, everywhere=True)
    assert (target.read_current(one, env), target.read_current(two, env)) == (KUBE, KUBE)


def test_none_for_a_context_where_there_is_one_for_all(env: dict[str, str]) -> None:
    one, two = ClusterSettings(), ClusterSettings(context="two")
    target.write_current(KUBE, one, env, everywhere=True)
    target.write_current(None, one, env)
    assert (target.read_current(one, env), target.read_current(two, env)) == (None, KUBE)
    target.write_current(OTHER, one, env)
    assert target.read_current(one, env) == OTHER
    target.write_current(None, one, env, everywhere=True)
    assert (target.read_current(one, env), target.read_current(two, env)) == (None, None)


def test_what_cannot_be_forgotten_is_no_failure_and_loses_nothing(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target.write_current(KUBE, ClusterSettings(), env)
    file = tmp_path / "state" / "kube-builder" / "current.json"
    before = file.read_text()
    monkeypatch.setattr(scratch, "replace", full)
    target.forget_current(KUBE, env)
    assert file.read_text() == before
    with pytest.raises(InputError, match=r"cannot store the builder in .*current\.json: No space left on device"):
        target.write_current(OTHER, ClusterSettings(), env)


def test_what_is_gone_is_forgotten_and_what_is_broken_counts_for_nothing(env: dict[str, str]) -> None:
    one = ClusterSettings()
    target.write_current(KUBE, one, env)
    target.forget_current(OTHER, env)
    assert target.read_current(one, env) == KUBE
    target.forget_current(KUBE, env)
    assert target.read_current(one, env) is None
    (Path(env["XDG_STATE_HOME"]) / "kube-builder" / "current.json").write_text("{broken")
    assert target.read_current(one, env) is None


def test_without_a_choice_not_even_the_kubeconfig_is_read(tmp_path: Path) -> None:
    env = {"KUBECONFIG": str(tmp_path / "absent"), "HOME": str(tmp_path)}
    assert target.read_current(ClusterSettings(), env) is None
    assert target.read_current(ClusterSettings(), {}) is None
    with pytest.raises(InputError, match="missing folder for the current builder; set HOME"):
        target.write_current(KUBE, ClusterSettings(), {})
