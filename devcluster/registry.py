"""The cluster's registries: `open` (plain HTTP), `basic` (TLS, passwords) and `token` (TLS, bearer tokens).

All are Debian's docker-registry (distribution 2.8.2) on the cluster's own address, so that one name reaches them from
the host and from pods. Nodes pull docker.io's images from `open`.
"""

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_buildx.model.secret import Secret
from devcluster import pki
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.processes import Command

PROGRAM = "/usr/bin/docker-registry"
PORTS = {"open": 5000, "basic": 5001, "token": 5002}
TOKEN_PORT = 5003
USERNAME = "builder"
READER = "reader"
JOB = "job"
OIDC_KEY = "oidc-tokens"
"""The pair that the issuer of the jobs' tokens signs with."""
ACCOUNTS = (USERNAME, READER, JOB, "state", "oidc-requests")
TOKEN_LIFETIME = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One registry as its clients see it; `ca_file` is None for plain HTTP, `username` empty without logins.

    `mirrors` are the registries of the world in whose stead nodes ask this one.
    """

    name: str
    address: str
    ca_file: Path | None
    username: str
    password: Secret
    mirrors: tuple[str, ...] = ()

    @property
    def plain_http(self) -> bool:
        """Whether it speaks HTTP without TLS."""
        return self.ca_file is None

    @property
    def url(self) -> str:
        """The registry's root."""
        return f"{'http' if self.plain_http else 'https'}://{self.address}"

    @property
    def ready_url(self) -> str:
        """Answers 200 to everybody as soon as the registry serves (distribution 2.8.2, registry/registry.go)."""
        return f"{self.url}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that belongs to the registries. `ready_url` answers 200; `ca_file` verifies it.

    It needs the cluster's network only: in the cluster's mount namespace its own files may be hidden.
    """

    name: str
    command: Command
    ready_url: str
    ca_file: Path | None


def registries(cluster: Cluster) -> tuple[Registry, ...]:
    """The registries `open`, `basic` and `token`, in this order.

    Raises DevclusterError where the cluster has never been up, and so has no passwords.
    """
    return tuple(
        Registry(
            name=name,
            address=f"{cluster.address}:{port}",
            ca_file=None if name == "open" else cluster.pki / "ca.crt",
            username="" if name == "open" else USERNAME,
            password=Secret("") if name == "open" else password(cluster, USERNAME),
            mirrors=("docker.io",) if name == "open" else (),
        )
        for name, port in PORTS.items()
    )


def password(cluster: Cluster, account: str) -> Secret:
    """An account's password: `builder` may do everything, `reader` (of `token` only) may pull."""
    try:
        return Secret(json.loads(credentials_file(cluster).read_text())[account])
    except FileNotFoundError:
        raise DevclusterError(
            f"cluster {cluster.name!r} has no registries yet: run `python -m devcluster up`"
        ) from None


def services(cluster: Cluster) -> tuple[Service, ...]:
    """The processes to run, token server included; `write` has made what they read."""
    served = tuple(
        Service(
            name=f"registry-{registry.name}",
            command=Command(
                argv=(PROGRAM, "serve", str(_file(cluster, registry.name))), reads=(_file(cluster, registry.name),)
            ),
            ready_url=registry.ready_url,
            ca_file=registry.ca_file,
        )
        for registry in registries(cluster)
    )
    tokens = Service(
        name="registry-tokens",
        command=module("devcluster.tokens", _file(cluster, "tokens")),
        ready_url=f"https://{cluster.address}:{TOKEN_PORT}/healthz",
        ca_file=cluster.pki / "ca.crt",
    )
    return (*served, tokens)


def module(name: str, configuration: Path) -> Command:
    """A server that is a module of ours, with its configuration file."""
    return Command(
        argv=(sys.executable, "-m", name, str(configuration)),
        cwd=Path(__file__).parent.parent,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        reads=(configuration,),
    )


def write(cluster: Cluster) -> None:
    """Write passwords, where absent, and the services' configuration. The cluster's authority must exist."""
    cluster.configuration.mkdir(parents=True, exist_ok=True)
    _ensure_credentials(cluster)
    for registry in registries(cluster):
        _write(_file(cluster, registry.name), configuration(cluster, registry))
    _write(_file(cluster, "tokens"), token_configuration(cluster))


def configuration(cluster: Cluster, registry: Registry) -> dict[str, Any]:
    """The registry's configuration; it is YAML, of which JSON is a part (docs/configuration.md).

    No cache of blob descriptors: a registry must notice that its storage was wiped.
    """
    http: dict[str, Any] = {"addr": registry.address, "secret": password(cluster, "state").reveal_text()}
    if registry.ca_file:
        certificate, key = _server_pair(cluster)
        http["tls"] = {"certificate": str(certificate), "key": str(key)}
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(cluster.registries / registry.name)},
            "delete": {"enabled": True},
        },
        "http": http,
    }
    match registry.name:
        case "basic":
            config["auth"] = {"htpasswd": {"realm": "basic", "path": str(_ensure_htpasswd(cluster))}}
        case "token":
            config["auth"] = {
                "token": {
                    "realm": f"https://{cluster.address}:{TOKEN_PORT}/token",
                    "service": registry.address,
                    "issuer": f"devcluster-{cluster.name}",
                    "rootcertbundle": str(cluster.pki / "ca.crt"),
                }
            }
    return config


def token_configuration(cluster: Cluster) -> dict[str, Any]:
    """What `devcluster.tokens` reads: `builder` may do everything, `reader` pull; `public/*` is everybody's to pull."""
    certificate, key = _server_pair(cluster)
    signing_certificate, signing_key = pki.ensure_pair(cluster, "tokens", pki.Subject(name="tokens"))
    jobs, _ = pki.ensure_pair(cluster, OIDC_KEY, pki.Subject(name=OIDC_KEY))
    return {
        "address": str(cluster.address),
        "port": TOKEN_PORT,
        "certificate": str(certificate),
        "key": str(key),
        "signing_certificate": str(signing_certificate),
        "signing_key": str(signing_key),
        "issuer": f"devcluster-{cluster.name}",
        "service": f"{cluster.address}:{PORTS['token']}",
        "lifetime": TOKEN_LIFETIME,
        "jobs": str(jobs),
        "accounts": {
            USERNAME: {
                "password": password(cluster, USERNAME).reveal_text(),
                "grants": {"*": ["pull", "push", "delete"]},
            },
            READER: {"password": password(cluster, READER).reveal_text(), "grants": {"*": ["pull"]}},
            JOB: {"password": password(cluster, JOB).reveal_text(), "grants": {"*": ["pull", "push"]}},
            "": {"password": "", "grants": {"public/*": ["pull"]}},
        },
    }


def _file(cluster: Cluster, name: str) -> Path:
    return cluster.configuration / f"registry-{name}.json"


def _server_pair(cluster: Cluster) -> tuple[Path, Path]:
    return pki.server_certificate(cluster, "registry", addresses=[str(cluster.address)])


def credentials_file(cluster: Cluster) -> Path:
    """Where the accounts' passwords are kept."""
    return cluster.state / "registry-credentials.json"


def _ensure_credentials(cluster: Cluster) -> None:
    """Make passwords that stay the same while the cluster's state does."""
    file = credentials_file(cluster)
    known = json.loads(file.read_text()) if file.exists() else {}
    if not known.keys() >= set(ACCOUNTS):
        _write(file, {name: known.get(name) or secrets.token_urlsafe(18) for name in ACCOUNTS})


def _ensure_htpasswd(cluster: Cluster) -> Path:
    """docker-registry reads bcrypt only (distribution 2.8.2, registry/auth/htpasswd/htpasswd.go)."""
    file = cluster.configuration / "registry.htpasswd"
    if not file.exists():
        import bcrypt

        # A low cost: each request with a password pays it, and these passwords are random.
        hashed = bcrypt.hashpw(password(cluster, USERNAME).reveal(), bcrypt.gensalt(rounds=5))
        pki.write_private(file, f"{USERNAME}:{hashed.decode()}\n".encode())
    return file


def _write(file: Path, value: dict[str, Any]) -> None:
    """Write JSON that holds passwords; whole whenever it is seen."""
    fresh = file.with_name(f".{file.name}.new")
    pki.write_private(fresh, json.dumps(value, indent=2).encode())
    fresh.replace(file)
