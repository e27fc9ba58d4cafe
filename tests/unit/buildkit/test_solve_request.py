import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.buildkit import solve_request
from ci_buildx.buildkit.messages import CacheOptions, ExporterEntry, SolveRequest
from ci_buildx.model.platform import Platform
from ci_buildx.settings.values import BuildSettings, NamedContext, SandboxSettings, TypedAttributes

HERE = Path("/src/app")
PLAIN: dict[str, Any] = {"context": HERE, "dockerfile": HERE / "Dockerfile"}

REMOTE: dict[str, Any] = {"context": "https://host/a.git#main", "dockerfile": None}
TWO = (Platform("linux", "arm64"), Platform("linux", "arm", "v7"))


def make(*, platforms: tuple[Platform, ...] = (), multi_platform: bool = False, **build: Any) -> SolveRequest:
    return solve_request.make_solve_request(
        BuildSettings(**PLAIN | build),
        ref="ref",
        session_id="session",
        platforms=platforms,
        exporters=(ExporterEntry("image", {"name": "a"}),),
        multi_platform=multi_platform,
    )


def test_a_plain_build() -> None:
    made = make()
    assert made == SolveRequest(
        ref="ref",
        session="session",
        frontend="dockerfile.v0",
        frontend_attrs={"filename": "Dockerfile", "attest:provenance": "mode=min,inline-only=true"},
        exporters=(ExporterEntry("image", {"name": "a"}),),
        cache=made.cache,
    )
    assert made.cache == CacheOptions()


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ({"dockerfile": Path("/elsewhere/My.Dockerfile")}, {"filename": "My.Dockerfile"}),
        ({"target": "final"}, {"target": "final"}),
        ({"no_cache": True}, {"no-cache": ""}),
        ({"pull": True}, {"image-resolve-mode": "pull"}),
        ({"build_args": (("A", "1"), ("B", ""))}, {"build-arg:A": "1", "build-arg:B": ""}),
        ({"build_args": (("BUILDKIT_MULTI_PLATFORM", "1"),)}, {"multi-platform": "true"}),
        ({"labels": (("l", "v"),)}, {"label:l": "v"}),
        ({"provenance": "type=provenance,mode=max"}, {"attest:provenance": "type=provenance,mode=max"}),
        ({"sbom": "type=sbom"}, {"attest:sbom": "type=sbom"}),
        ({"multi_platform": True}, {"multi-platform": "true"}),
        ({"platforms": TWO}, {"platform": "linux/arm64,linux/arm/v7"}),
        (REMOTE, {"context": "https://host/a.git#main", "filename": "Dockerfile"}),
        (REMOTE | {"dockerfile_name": "b/F"}, {"filename": "b/F"}),
        (REMOTE | {"context": "https://h/a.git?ref=x"}, {"frontend.caps": "moby.buildkit.frontend.gitquerystring"}),
        ({"no_cache_filter": ("a", "b")}, {"no-cache": "a,b"}),
        ({"attestations": (("x", "type=x"),)}, {"attest:x": "type=x"}),
        ({"sandbox": SandboxSettings(network="none")}, {"force-network-mode": "none"}),
        ({"sandbox": SandboxSettings(hosts=("a=1.2.3.4", "b=::1"))}, {"add-hosts": "a=1.2.3.4,b=::1"}),
        ({"sandbox": SandboxSettings(shm_size=1024)}, {"shm-size": "1024"}),
        ({"sandbox": SandboxSettings(ulimits=("core=0:0", "nofile=1:2"))}, {"ulimit": "core=0:0,nofile=1:2"}),
        ({"sandbox": SandboxSettings(cgroup_parent="/ci")}, {"cgroup-parent": "/ci"}),
        ({"sandbox": SandboxSettings(resources=(("cpuquota", "5"),))}, {"cpuquota": "5"}),
        ({"dockerfile_origin": "-"}, {"dockerfilekey": "dockerfile", "filename": "Dockerfile"}),
        ({"context": "https://host/a.git"}, {"dockerfilekey": "dockerfile", "filename": "Dockerfile"}),
    ],
)
def test_each_setting_becomes_its_attribute(build: dict[str, Any], expected: dict[str, str]) -> None:
    attrs = make(**build).frontend_attrs
    assert expected.items() <= attrs.items()


NAMED = (
    NamedContext(name="lib", location=Path("/src/lib")),
    NamedContext(name="context", location=Path("/src/other")),
    NamedContext(name="base", location="docker-image://alpine"),
)


def test_named_contexts() -> None:
    """As buildx 0.38.2, ``build/opt.go`` (``loadInputs``)."""
    attrs = make(contexts=NAMED, provenance="").frontend_attrs
    assert attrs == {
        "filename": "Dockerfile",
        "frontend.caps": "moby.buildkit.frontend.contexts+forward",
        "context:lib": "local:lib",
        "sharedkey:localdir:lib": solve_request.make_shared_key(Path("/src/lib")),
        "context:context": "local:_context",
        "sharedkey:localdir:context": solve_request.make_shared_key(Path("/src/other")),
        "context:base": "docker-image://alpine",
    }
    folders = solve_request.list_shared_folders(BuildSettings(**PLAIN, contexts=NAMED))
    assert folders == {"context": HERE, "dockerfile": HERE, "lib": Path("/src/lib"), "_context": Path("/src/other")}


def test_a_query_of_a_named_context_needs_its_own_capability() -> None:
    named = (NamedContext(name="lib", location="https://host/a.git?ref=x"),)
    assert make(context="https://host/b.git?ref=y", dockerfile=None, contexts=named).frontend_attrs[
        "frontend.caps"
    ] == (
        "moby.buildkit.frontend.contexts+forward,"
        "moby.buildkit.frontend.gitquerystring,moby.buildkit.frontend.gitquerystring+forward"
    )


def test_entitlements() -> None:
    assert make(entitlements=("network.host",)).entitlements == ("network.host",)


def test_what_is_not_asked_for_is_not_sent() -> None:
    attrs = make(provenance="").frontend_attrs
    assert attrs == {"filename": "Dockerfile"}


def test_another_frontend() -> None:
    made = make(build_args=(("BUILDKIT_SYNTAX", "docker/dockerfile:1 --x"),))
    assert made.frontend == "gateway.v0"
    assert made.frontend_attrs["source"] == "docker/dockerfile:1"
    assert made.frontend_attrs["cmdline"] == "docker/dockerfile:1 --x"


def test_caches() -> None:
    registry = TypedAttributes(type="registry", attrs=(("ref", "host/cache"), ("mode", "max")))
    made = make(cache_from=(registry,), cache_to=(registry,), build_args=(("BUILDKIT_INLINE_CACHE", "1"),))
    entry = ExporterEntry("registry", {"ref": "host/cache", "mode": "max"})
    assert made.cache.imports == (entry,)
    assert made.cache.exports == (entry, ExporterEntry("inline", {}))
    assert json.loads(made.frontend_attrs["cache-imports"]) == [{"Type": "registry", "Attrs": entry.attrs}]


def test_shared_folders() -> None:
    assert solve_request.list_shared_folders(BuildSettings(**PLAIN)) == {"context": HERE, "dockerfile": HERE}
    remote = BuildSettings(context="https://host/a.git", dockerfile=None)
    assert solve_request.list_shared_folders(remote) == {}


def test_the_shared_key_is_stable_per_repository_and_context() -> None:
    def key(context: Path | str, **known: Any) -> str:
        return solve_request.make_shared_key(context, **known)

    here = key(HERE, repository="org/repo", checkout=Path("/src"))
    assert here == key(Path("/builds/7/app"), repository="org/repo", checkout=Path("/builds/7"))
    assert here.startswith("app:")
    others = [
        key(HERE, repository="org/other", checkout=Path("/src")),
        key(Path("/src/x/app"), repository="org/repo", checkout=Path("/src")),
        key(HERE),
        key(Path("/other/app")),
        key("https://host/a.git"),
    ]
    assert len({here, *others}) == 6
