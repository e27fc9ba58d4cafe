"""Every input and output of docker's actions: ours has its name, another name, or is refused with what to do instead.

The lists are those of the actions' ``action.yml`` at the versions named here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github import inputs, setup
from ci_buildx.ci.github.inputs import REFUSED
from ci_buildx.errors import InputError
from ci_buildx.settings.option import OptionSurface

ROOT = Path(__file__).parents[4]
PEERS = {
    "docker/build-push-action@v7.3.0": (
        "add-hosts allow annotations attests build-args build-contexts builder cache-from cache-to call cgroup-parent "
        "context file labels load network no-cache no-cache-filters outputs platforms provenance pull push sbom "
        "secrets secret-envs secret-files shm-size ssh tags target ulimit github-token"
    ),
    "docker/setup-buildx-action@v4.3.0": (
        "version driver driver-opts buildkitd-flags buildkitd-config buildkitd-config-inline use name endpoint "
        "platforms append keep-state cache-binary cleanup"
    ),
    "docker/setup-qemu-action@v4.2.0": "image platforms reset cache-image",
    "docker/login-action@v4.1.0": "registry username password ecr scope logout registry-auth",
    "docker/metadata-action@v6.2.0": (
        "context images tags flavor labels annotations sep-tags sep-labels sep-annotations bake-target github-token"
    ),
}
RENAMED = {
    ("docker/metadata-action@v6.2.0", "tags"): "tag-rules",
    ("docker/metadata-action@v6.2.0", "context"): "metadata-context",
    ("docker/setup-qemu-action@v4.2.0", "image"): "driver-opts",  # qemu.image=…
}
OF_SETUP = "docker/setup-buildx-action@v4.3.0"
OUTPUTS = {
    "action.yml": (
        "imageid digest metadata version tags tag-names labels annotations json bake-file bake-file-tags "
        "bake-file-labels bake-file-annotations"
    ),
    "merge/action.yml": (
        "digest metadata version tags tag-names labels annotations json bake-file bake-file-tags bake-file-labels "
        "bake-file-annotations"
    ),
    "setup/action.yml": "name driver platforms nodes endpoint status buildkit-host sockets flags",
}
EVERY = [(peer, name) for peer, names in PEERS.items() for name in names.split()]


@pytest.mark.parametrize(("peer", "name"), EVERY, ids=lambda part: str(part).rpartition("/")[2])
def test_each_input_is_taken_renamed_or_refused_with_a_way_out(peer: str, name: str) -> None:
    here = {option.name for option in offered.list_inputs(OptionSurface.GITHUB)}
    if (peer, name) in RENAMED:
        assert RENAMED[peer, name] in here
    elif peer == OF_SETUP and name in setup.KNOWN:
        assert name in here or name in REFUSED
    elif name not in here:
        assert name in REFUSED, f"{peer} has {name}"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_says_what_to_do(name: str) -> None:
    with pytest.raises(InputError) as caught:
        inputs.read_inputs({f"INPUT_{name.upper()}": "x"}, Path())
    assert str(caught.value) == f"input {name}: is not supported; {REFUSED[name]}"


@pytest.mark.parametrize("file", sorted(OUTPUTS))
def test_the_outputs_have_the_peers_names(file: str) -> None:
    document: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    assert set(document["outputs"]) == set(OUTPUTS[file].split())


def test_the_setup_offers_what_it_reads() -> None:
    document = yaml.safe_load((ROOT / "setup" / "action.yml").read_text())
    assert list(document["inputs"]) == list(setup.KNOWN)
