"""A bare buildkitd that knows the devcluster's registries, and builds on it with our session as the product has it."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci_buildx.build.caches import NodeCaches
from ci_buildx.build.context.input_files import open_input_files
from ci_buildx.buildkit import exporters, solve_request
from ci_buildx.buildkit.control import Control, SolveResult
from ci_buildx.errors import SolveError
from ci_buildx.model.record import replace
from ci_buildx.model.secret import Secret
from ci_buildx.registry.advice import add_advice
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.token_authority import RegistryTokens
from ci_buildx.registry.trust import read_trust
from ci_buildx.session.auth import AuthService
from ci_buildx.session.call import SessionCall
from ci_buildx.session.content import ContentService
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.oci_layout import OciLayout
from ci_buildx.session.session import Attachable, BuildSession
from ci_buildx.settings.values import BuildSettings, TypedAttributes
from devcluster.bare_buildkitd import serving
from tests.integration.buildkit.conftest import Build
from tests.integration.session.services import ShortLived, short_lived


@pytest.fixture(scope="session")
def config(cluster_env: dict[str, str]) -> str:
    """A buildkitd.toml with all registries."""
    lines = [f'[registry."{cluster_env["REGISTRY"]}"]', "http = true"]
    for name in ("REGISTRY_BASIC", "REGISTRY_TOKEN"):
        lines += [f'[registry."{cluster_env[name]}"]', f'ca = ["{cluster_env[f"{name}_CA"]}"]']
    return "\n".join(lines)


@pytest.fixture(scope="session")
def address(config: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running buildkitd, as a gRPC target."""
    folder = tmp_path_factory.mktemp("buildkitd")
    (folder / "buildkitd.toml").write_text(config)
    with serving(folder, ["--config", str(folder / "buildkitd.toml")]) as found:
        yield found


@pytest.fixture
def control(address: str) -> Iterator[Control]:
    """A connection to the buildkitd at ``address``."""
    with Control(address) as opened:
        yield opened


@pytest.fixture(scope="session")
def expiring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShortLived]:
    """A registry whose tokens live for two seconds."""
    with short_lived(tmp_path_factory.mktemp("registry")) as served:
        yield served


class Watched(AuthService):
    """Remembers which calls came."""

    asked: list[str]

    def accept(self, call: SessionCall) -> None:
        self.asked.append(call.path.rpartition("/")[2])
        super().accept(call)


@dataclass
class Person:
    """Somebody with logins, whose builds remember what buildkitd asked and which warnings there were."""

    control: Control
    store: CredentialStore
    auth: Watched
    folder: Path
    warnings: list[str] = field(default_factory=list)
    seen: list[Build] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        return self.auth.asked

    def build(self, dockerfile: str, **more: object) -> SolveResult:
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(dockerfile)
        settings = BuildSettings(context=context, dockerfile=context / "Dockerfile", **more)  # type: ignore[arg-type]
        with open_input_files(settings) as taken:
            return self._build(taken)

    def _build(self, settings: BuildSettings) -> SolveResult:
        exports = exporters.make_exports(settings)
        share = NodeCaches(build=settings, layout=exports.layout, platforms=(), several=False)
        caches = share.prepare({}, warn=self.warnings.append)
        images = {name: OciLayout(folder) for name, folder in solve_request.list_layout_stores(settings).items()}
        attachables: list[Attachable] = [
            FileSyncService(solve_request.list_shared_folders(settings)),
            self.auth,
            FileSendService(exports.targets),
            ContentService({**caches.layouts, **images}),
        ]
        session = BuildSession(attachables, shared_key=solve_request.make_shared_key(settings.context))
        made = solve_request.make_solve_request(
            replace(settings, cache_from=caches.imports, cache_to=caches.exports),
            ref=secrets.token_hex(12),
            session_id=session.id,
            platforms=(),
            exporters=exports.exporters,
            multi_platform=False,
        )
        self.seen.append(Build())
        try:
            result = self.control.solve(made, session=session, on_status=self.seen[-1].note)
        except SolveError as failure:
            raise add_advice(failure, self.store) from failure
        share.keep(result.exporter_response)
        return result

    def push(self, dockerfile: str, *tags: str) -> SolveResult:
        return self.build(dockerfile, push=True, tags=tags, provenance="")


Somebody = Callable[..., Person]


@pytest.fixture
def somebody(control: Control, config: str, tmp_path: Path) -> Iterator[Somebody]:
    """Makes persons: ``logins`` by host; their docker configuration is in ``folder``."""
    opened: list[RegistryTokens] = []

    def make(logins: dict[str, RegistryLogin] | None = None, *, tokens: bool = True, folder: Path = tmp_path) -> Person:
        auths = {(host, ""): login for host, login in (logins or {}).items()}
        store = CredentialStore([DockerConfig(origin="the test", auths=auths, helpers={}, store="")], env={})
        source = RegistryTokens(store, folder=folder, trust=lambda: read_trust(config))
        opened.append(source)
        auth = Watched(store.lookup, source if tokens else None)
        auth.asked = []
        return Person(control, store, auth, tmp_path)

    yield make
    for source in opened:
        source.close()


def login_for(env: dict[str, str], name: str, password: str = "") -> dict[str, RegistryLogin]:
    """The login for the devcluster's registry ``name``."""
    secret = Secret(password or env[f"REGISTRY_{name}_PASSWORD"])
    return {env[f"REGISTRY_{name}"]: RegistryLogin(username=env[f"REGISTRY_{name}_USER"], secret=secret)}


def local(**attrs: object) -> TypedAttributes:
    return TypedAttributes(type="local", attrs=tuple((name, str(value)) for name, value in attrs.items()))
