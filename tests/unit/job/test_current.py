"""The current builder: a choice of this user on this machine, for each context."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.job import current
from ci_buildx.job.current import Choice
from ci_buildx.settings.values import ClusterSettings

KUBE, OTHER = Choice(builder="kube", namespace="buildkit"), Choice(builder="other", namespace="ci")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
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
    assert current.read(one, env) is None
    current.write(KUBE, one, env)
    current.write(OTHER, two, env)
    assert (current.read(one, env), current.read(two, env)) == (KUBE, OTHER)
    current.write(None, one, env)
    assert (current.read(one, env), current.read(two, env)) == (None, OTHER)


def test_one_for_all_contexts(env: dict[str, str]) -> None:
    one, two = ClusterSettings(), ClusterSettings(context="two")
    current.write(OTHER, two, env)
    current.write(KUBE, one, env, everywhere=True)
    assert (current.read(one, env), current.read(two, env)) == (KUBE, KUBE)


def test_none_for_a_context_where_there_is_one_for_all(env: dict[str, str]) -> None:
    one, two = ClusterSettings(), ClusterSettings(context="two")
    current.write(KUBE, one, env, everywhere=True)
    current.write(None, one, env)
    assert (current.read(one, env), current.read(two, env)) == (None, KUBE)
    current.write(OTHER, one, env)
    assert current.read(one, env) == OTHER
    current.write(None, one, env, everywhere=True)
    assert (current.read(one, env), current.read(two, env)) == (None, None)


def test_what_cannot_be_forgotten_is_no_failure_and_loses_nothing(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    current.write(KUBE, ClusterSettings(), env)
    file = tmp_path / "state" / "kube-builder" / "current.json"
    before = file.read_text()
    monkeypatch.setattr(scratch, "replace", full)
    current.forget(KUBE, env)
    assert file.read_text() == before
    with pytest.raises(InputError, match=r"cannot remember the builder in .*current\.json: No space left on device"):
        current.write(OTHER, ClusterSettings(), env)


def test_what_is_gone_is_forgotten_and_what_is_broken_counts_for_nothing(env: dict[str, str]) -> None:
    one = ClusterSettings()
    current.write(KUBE, one, env)
    current.forget(OTHER, env)
    assert current.read(one, env) == KUBE
    current.forget(KUBE, env)
    assert current.read(one, env) is None
    (Path(env["XDG_STATE_HOME"]) / "kube-builder" / "current.json").write_text("{broken")
    assert current.read(one, env) is None


def test_without_a_choice_not_even_the_kubeconfig_is_read(tmp_path: Path) -> None:
    env = {"KUBECONFIG": str(tmp_path / "absent"), "HOME": str(tmp_path)}
    assert current.read(ClusterSettings(), env) is None
    assert current.read(ClusterSettings(), {}) is None
    with pytest.raises(InputError, match="there is no folder to remember the builder in; set HOME"):
        current.write(KUBE, ClusterSettings(), {})
