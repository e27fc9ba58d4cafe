import os
from pathlib import Path

import pytest

from devcluster import programs, toolchain


def test_a_build_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "thing"
    with pytest.raises(RuntimeError, match="compiler"), programs.building(final) as target:
        assert target
        (target / "half").touch()
        raise RuntimeError("compiler")
    assert list(tmp_path.iterdir()) == []
    with programs.building(final) as target:
        assert target
        (target / "whole").touch()
    assert (final / "whole").exists()
    with programs.building(final) as target:
        assert target is None


def test_every_recipe_pins_its_module_and_names_are_unique() -> None:
    names = [name for recipe in programs.RECIPES for name in recipe.names]
    assert len(names) == len(set(names))
    assert len({recipe.name for recipe in programs.RECIPES}) == len(programs.RECIPES)
    for recipe in programs.RECIPES:
        assert {"go.mod", "go.sum"} <= {path.name for path in (programs.MODULES / recipe.module).iterdir()}


@pytest.mark.parametrize(
    ("module", "version"),
    [("github.com/moby/buildkit", programs.BUILDKIT), ("github.com/docker/buildx", programs.BUILDX)],
)
def test_programs_say_the_version_that_they_are(module: str, version: str) -> None:
    assert f"{module} {version}" in (programs.MODULES / programs.CONTAINERS / "go.mod").read_text()


def test_an_unknown_program_or_recipe_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="no-such-program"):
        programs.path("no-such-program")
    with pytest.raises(LookupError, match="no-such-program"):
        programs.is_built("no-such-program")
    with pytest.raises(LookupError, match="no-such-recipe"):
        programs.build(["no-such-recipe"])


def test_a_small_cluster_needs_a_part_of_a_whole_one() -> None:
    for name in (programs.kubernetes(programs.DEFAULT).name, *programs.CLUSTER_PROGRAMS):
        assert name in programs.list_recipes(programs.DEFAULT)
    assert set(programs.BUILD_PROGRAMS) < set(programs.CLUSTER_PROGRAMS)


@pytest.mark.parametrize("minor", programs.KUBERNETES)
def test_only_the_wanted_kubernetes_is_built(minor: str) -> None:
    found = programs.list_recipes(minor)
    assert [name for name in found if name.startswith("kubernetes-")] == [f"kubernetes-{minor}"]
    assert len(found) == len(programs.RECIPES) - len(programs.KUBERNETES) + 1


def read_versions(module: str) -> dict[str, str]:
    """The versions of a module's dependencies, as they are after `replace`."""
    found = {}
    for line in (programs.MODULES / module / "go.mod").read_text().splitlines():
        words = line.removeprefix("require ").split("//")[0].split()
        if len(words) == 2 and words[1].startswith("v"):
            found[words[0]] = words[1]
    return found


HELD_BACK = ("github.com/Microsoft/go-winio", "k8s.io/cri-streaming")
"""A module for Windows only, and one that Kubernetes takes from its own tree."""


@pytest.mark.parametrize("other", [programs.CONTAINERS, "coredns"])
def test_the_default_kubernetes_has_the_versions_of_what_it_shares(other: str) -> None:
    """A package is compiled once only if its version, and those of all its dependencies, are the same in both."""
    ours, theirs = read_versions(programs.kubernetes(programs.DEFAULT).module), read_versions(other)
    shared = ours.keys() & theirs.keys() - set(HELD_BACK)
    assert len(shared) > 50
    assert not {name for name in shared if ours[name] != theirs[name] and not name.startswith("go.etcd.io/")}


def test_the_newest_kubernetes_is_the_default() -> None:
    newest = max(programs.KUBERNETES, key=lambda minor: tuple(map(int, minor.split("."))))
    assert newest == programs.DEFAULT


def test_no_module_needs_a_newer_go_than_the_toolchain_offers() -> None:
    for module in programs.MODULES.iterdir():
        lines = (module / "go.mod").read_text().splitlines()
        needed = next(line.split()[1] for line in lines if line.startswith("go "))
        assert tuple(int(part) for part in needed.split(".")) <= toolchain.NEEDED


def test_a_toolchain_that_says_nothing_has_no_version(tmp_path: Path) -> None:
    broken = tmp_path / "go"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert toolchain.version(broken) == ()
    broken.write_text("#!/bin/sh\necho go version go1.27.3 linux/amd64\n")
    os.utime(broken)
    assert toolchain.version(broken) == (1, 27, 3)
