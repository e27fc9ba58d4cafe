"""What `create` refuses before anything of a builder is made: it ends with 2, and nothing was created."""

from __future__ import annotations

import io
from typing import cast

import pytest

from ci_buildx.build.start_on_use import BootWakeup
from ci_buildx.builder import cluster_facts, labels
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.lifecycle.create import NodeRequest
from ci_buildx.errors import BootError, InputError
from ci_buildx.kube.client import KubeClient
from ci_buildx.manage.create import CreateRequest, _CreateRun
from ci_buildx.model import platform
from ci_buildx.model.record import replace
from ci_buildx.progress import display
from ci_buildx.runtime.signals import SignalHandler
from ci_buildx.settings.builder import BuilderSettings, Registries, Storage, UserNamespaces
from ci_buildx.settings.values import ProgressMode
from tests.unit.builder.lifecycle.memory_server import KEYS, NODE, Server, claimed, order

UNFIT = ClusterFacts(nodes=(KubeNode(name="old", architecture="amd64", labels={labels.ARCHITECTURE: "amd64"}),))
STATEFUL = "/apis/apps/v1/namespaces/ci/statefulsets/kube0"


class Api(Server):
    """Counts what is written, also where that is removed again."""

    namespace = "ci"

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def create(self, path: str, body: dict[str, object], **query: str) -> dict[str, object]:
        self.written.append(path)
        return super().create(path, body, **query)


def work(server: Server, asked: NodeRequest, *, append: bool = False) -> _CreateRun:
    creation = CreateRequest(name="kube", order=asked, append=append)
    shown = display.open_display(ProgressMode.PLAIN, io.StringIO(), env={})
    kube = cast("KubeClient", server)
    return _CreateRun(kube=kube, creation=creation, display=shown, interrupts=SignalHandler(), trust="")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Api:
    """An API server whose cluster has one old node."""
    monkeypatch.setattr(cluster_facts, "read_cluster_facts", lambda _: UNFIT)
    return Api()


def test_nodes_that_cannot_what_is_insisted_on(server: Api) -> None:
    with pytest.raises(
        InputError, match="user-namespaces: no suitable cluster node reports user namespaces: old; they require"
    ):
        work(server, order(user_namespaces=UserNamespaces.TRUE)).make()
    assert server.written == []


@pytest.mark.parametrize(
    ("taken", "settings"),
    [
        (NODE, BuilderSettings()),
        ("/api/v1/namespaces/ci/configmaps/kube0-config", BuilderSettings()),
        (STATEFUL, BuilderSettings(storage=Storage(claimed="1Gi"))),
    ],
)
@pytest.mark.parametrize("append", [False, True])
def test_a_node_of_a_name_that_is_taken(
    taken: str, settings: BuilderSettings, append: bool, server: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever: nothing is made and removed again, no configuration either."""
    if append:
        record = claimed(server)
        monkeypatch.setattr(records, "find_builder", lambda *_: record)
    server.objects[taken] = {"metadata": {"name": "kube0"}}
    before, server.written = dict(server.objects), []
    asked = NodeRequest(node="kube0", settings=replace(settings, registries=Registries(insecure=("r.example",))))
    with pytest.raises(InputError, match="--node: namespace 'ci' already contains an object named 'kube0'; choose"):
        work(server, asked, append=append).make()
    assert (server.written, server.objects) == ([], before)


def test_a_node_of_a_name_that_is_free_is_made(server: Api) -> None:
    record, node = work(server, NodeRequest(node="kube0", settings=BuilderSettings())).make()
    assert (record.name, node.name) == ("kube", "kube0")
    assert {KEYS, NODE} <= server.objects.keys()


@pytest.mark.parametrize(("platforms", "told"), [((), True), (("linux/amd64",), False)])
def test_a_node_that_cannot_be_scheduled_names_the_platform_that_nobody_chose(
    platforms: tuple[str, ...], told: bool, server: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object, __: object) -> None:
        raise BootError("node kube0", "Unschedulable", "0/1 nodes are available")

    monkeypatch.setattr(BootWakeup, "boot_nodes", fail)
    asked = NodeRequest(platforms=tuple(map(platform.parse_platform, platforms)), settings=BuilderSettings())
    making = work(server, asked)
    with pytest.raises(BootError) as caught:
        making.boot(*making.make())
    said = [note for note in caught.value.__notes__ if "platform" in note]
    assert said == (["no platform is set, so the node builds for amd64: see --platform"] if told else [])


def test_a_second_builder_of_the_name(server: Api) -> None:
    """Also where another was faster: the Secret can be taken once."""
    claimed(server)
    server.written = []
    with pytest.raises(InputError, match="already exists in namespace 'ci'"):
        claimed(server)
    assert server.objects.keys() == {KEYS}
