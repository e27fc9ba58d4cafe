"""A bare buildkitd on loopback, the same program that the devcluster's pods run, and a forwarder to break."""

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest

from ci_buildx.build.attachables import make_ssh_agents
from ci_buildx.build.context import mtimes
from ci_buildx.buildkit import exporters, solve_request
from ci_buildx.buildkit.control import Control, SolveResult
from ci_buildx.model.status import StatusUpdate, Vertex
from ci_buildx.session.auth import SecretsService
from ci_buildx.session.content import UploadService
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import Attachable, BuildSession
from ci_buildx.settings.values import BuildSettings
from devcluster.bare_buildkitd import serving


@pytest.fixture(scope="session")
def registry(cluster_env: dict[str, str]) -> str:
    """The devcluster's open registry, which has ``library/busybox``."""
    return cluster_env["REGISTRY"]


@pytest.fixture(scope="session")
def buildkitd(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running buildkitd, as a gRPC target."""
    folder = tmp_path_factory.mktemp("buildkitd")
    config = folder / "buildkitd.toml"
    config.write_text(f'[registry."{registry}"]\n  http = true\n')
    with serving(folder, ["--config", str(config)]) as address:
        yield address


@pytest.fixture
def control(buildkitd: str) -> Iterator[Control]:
    """A connection to ``buildkitd``."""
    with Control(buildkitd) as opened:
        yield opened


@dataclass
class Build:
    """What a build said: its result, and each step's last state."""

    result: SolveResult | None = None
    steps: dict[str, Vertex] = field(default_factory=dict)
    logs: bytes = b""

    def note(self, update: StatusUpdate) -> None:
        self.steps.update({vertex.name: vertex for vertex in update.vertexes})
        self.logs += b"".join(log.data for log in update.logs)

    def step(self, part: str) -> Vertex:
        """The step whose name has this in it."""
        return next(vertex for name, vertex in self.steps.items() if part in name)


Solve = Callable[..., Build]


@pytest.fixture
def solve(control: Control) -> Solve:
    """Build with our own settings, request, session and attachables, as the product does."""

    def run(
        settings: BuildSettings,
        *,
        control: Control = control,
        build: Build | None = None,
        on_status: Callable[[StatusUpdate], None] = lambda _: None,
        stop: threading.Event | None = None,
        shared_key: str = "",
    ) -> Build:
        build = build or Build()
        exports = exporters.make_exports(settings)
        attachables: list[Attachable] = [
            FileSyncService(solve_request.list_shared_folders(settings), mtimes.read_folder_clocks(settings)),
            FileSendService(exports.targets),
            SecretsService({secret.id: secret.value for secret in settings.secrets}),
        ]
        if settings.ssh:
            attachables.append(make_ssh_agents(settings))
        if settings.archive is not None:
            attachables.append(UploadService({str(settings.context).rpartition("/")[2]: settings.archive}))
        session = BuildSession(attachables, shared_key=shared_key or solve_request.make_shared_key(settings.context))
        made = solve_request.make_solve_request(
            settings,
            ref=secrets.token_hex(12),
            session_id=session.id,
            platforms=settings.platforms,
            exporters=exports.exporters,
            multi_platform=False,
        )

        def note(update: StatusUpdate) -> None:
            build.note(update)
            on_status(update)

        build.result = control.solve(made, session=session, on_status=note, stop=stop)
        return build

    return run


@contextmanager
def forwarding(target: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """An address that leads to ``target``, and a function that cuts all its connections."""
    host, _, port = target.rpartition(":")
    sockets: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while received := source.recv(1 << 16):
                sink.sendall(received)
        except OSError:
            return

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection((host, int(port)))
            sockets.extend((near, far))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    def cut() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        for each in sockets:
            each.shutdown(socket.SHUT_RDWR)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", cut
        for each in sockets:
            each.close()
