"""The cluster's registries: `open` (plain HTTP), `basic` (TLS, passwords) and `token` (TLS, bearer tokens).

All are Debian's docker-registry (distribution 2.8.2) on the cluster's own address, so that one name works on the host
and in pods. Cluster nodes pull docker.io's and ghcr.io's images from `open`.
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
MIRRORED = ("docker.io", "ghcr.io")
"""The public registries whose images cluster nodes and builders take from `open`."""
PORTS = {"open": 5000, "basic": 5001, "token": 5002}
TOKEN_PORT = 5003
USERNAME = "builder"
READER = "reader"
JOB = "job"
OIDC_KEY = "oidc-tokens"
"""The key pair that signs the jobs' OIDC tokens."""
ACCOUNTS = (USERNAME, READER, JOB, "state", "oidc-requests")
TOKEN_LIFETIME = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One registry as its clients see it; `ca_file` is None for plain HTTP, `username` empty without logins.

    `mirrors` are the public registries for which cluster nodes use this one.
    """

    name: str
    address: str
    ca_file: Path | None
    username: str
    password: Secret
    mirrors: tuple[str, ...] = ()

    @property
    def plain_http(self) -> bool:
        """Whether it uses HTTP without TLS."""
        return self.ca_file is None

    @property
    def url(self) -> str:
        """The registry's root URL."""
        return f"{'http' if self.plain_http else 'https'}://{self.address}"

    @property
    def ready_url(self) -> str:
        """URL that answers 200 without a login as soon as the registry serves.

        Source: distribution 2.8.2, registry/registry.go.
        """
        return f"{self.url}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that belongs to the registries. `ready_url` answers 200; `ca_file` verifies it.

    It runs in the cluster's network namespace only: the mount namespace may hide its own files.
    """

    name: str
    command: Command
    ready_url: str
    ca_file: Path | None


def registries(cluster: Cluster) -> tuple[Registry, ...]:
    """Return the registries `open`, `basic` and `token`, in this order.

    Raises DevclusterError if the cluster was never started, so that it has no passwords.
    """
    return tuple(
        Registry(
            name=name,
            address=f"{cluster.address}:{port}",
            ca_file=None if name == "open" else cluster.pki / "ca.crt",
            username="" if name == "open" else USERNAME,
            password=Secret("") if name == "open" else password(cluster, USERNAME),
            mirrors=MIRRORED if name == "open" else (),
        )
        for name, port in PORTS.items()
    )


def password(cluster: Cluster, account: str) -> Secret:
    """Return an account's password: `builder` has all rights, `reader` (of `token` only) may pull."""
    try:
        return Secret(json.loads(credentials_file(cluster).read_text())[account])
    except FileNotFoundError:
        raise DevclusterError(
            f"cluster {cluster.name!r} has no registries yet: run `python -m devcluster up`"
        ) from None


def services(cluster: Cluster) -> tuple[Service, ...]:
    """Return the processes to run, including the token server; `write` must have created their files."""
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
    """Return the command of a server that is one of our modules, with its configuration file."""
    return Command(
        argv=(sys.executable, "-m", name, str(configuration)),
        cwd=Path(__file__).parent.parent,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        reads=(configuration,),
    )


def write(cluster: Cluster) -> None:
    """Write missing passwords and the services' configuration. The cluster's authority must exist."""
    cluster.configuration.mkdir(parents=True, exist_ok=True)
    _ensure_credentials(cluster)
    for registry in registries(cluster):
        _write(_file(cluster, registry.name), configuration(cluster, registry))
    _write(_file(cluster, "tokens"), token_configuration(cluster))


def configuration(cluster: Cluster, registry: Registry) -> dict[str, Any]:
    """Return the registry's configuration as JSON, which is valid YAML (docs/configuration.md).

    It has no cache of blob descriptors: a registry must notice that its storage was wiped.
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
    """Return the configuration of `devcluster.tokens`.

    `builder` has all rights, `reader` may pull, and `public/*` may be pulled without a login.
    """
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
    """Return the path of the accounts' passwords."""
    return cluster.state / "registry-credentials.json"


def _ensure_credentials(cluster: Cluster) -> None:
    """Create passwords, which stay the same as long as the cluster's state exists."""
    file = credentials_file(cluster)
    known = json.loads(file.read_text()) if file.exists() else {}
    if not known.keys() >= set(ACCOUNTS):
        _write(file, {name: known.get(name) or secrets.token_urlsafe(18) for name in ACCOUNTS})


def _ensure_htpasswd(cluster: Cluster) -> Path:
    """Create the password file: docker-registry reads only bcrypt.

    Source: distribution 2.8.2, registry/auth/htpasswd/htpasswd.go.
    """
    file = cluster.configuration / "registry.htpasswd"
    if not file.exists():
        import bcrypt

        # A low cost is enough for random passwords, and each request with a password pays it.
        hashed = bcrypt.hashpw(password(cluster, USERNAME).reveal(), bcrypt.gensalt(rounds=5))
        pki.write_private(file, f"{USERNAME}:{hashed.decode()}\n".encode())
    return file


def _write(file: Path, value: dict[str, Any]) -> None:
    """Write JSON with passwords atomically."""
    fresh = file.with_name(f".{file.name}.new")
    pki.write_private(fresh, json.dumps(value, indent=2).encode())
    fresh.replace(file)
