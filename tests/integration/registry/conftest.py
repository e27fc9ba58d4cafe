"""The devcluster's registries; `python -m devcluster up` has started them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ci_buildx.model.secret import Secret
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.trust import RegistryTrust
from devcluster.registry import Registry

Registries = dict[str, Registry]
Connect = Callable[..., RegistryClient]


@pytest.fixture
def connect(registries: Registries) -> Iterator[Connect]:
    """A client with the cluster's logins; `logins` and `trust` replace what it knows."""
    with ExitStack() as stack:

        def make(
            *, logins: dict[str, RegistryLogin] | None = None, trust: RegistryTrust | None = None
        ) -> RegistryClient:
            known = logins_of(registries) if logins is None else logins
            auths = {(registries[name].address, ""): login for name, login in known.items()}
            config = DockerConfig(origin="the test", auths=auths, helpers={}, store="")
            client = RegistryClient(
                CredentialStore([config], env={}),
                trust=trust or trust_in(registries),
                patience=RequestPatience(attempts=2, sleep=lambda _: None),
            )
            return stack.enter_context(client)

        yield make


def logins_of(registries: Registries) -> dict[str, RegistryLogin]:
    return {
        name: RegistryLogin(username=server.username, secret=server.password)
        for name, server in registries.items()
        if server.username
    }


def wrong_login() -> RegistryLogin:
    return RegistryLogin(username="builder", secret=Secret("wrong"))


def trust_in(registries: Registries) -> RegistryTrust:
    authorities: dict[str, tuple[Path, ...]] = {
        server.address: (server.ca_file,) for server in registries.values() if server.ca_file
    }
    plain = frozenset(server.address for server in registries.values() if server.plain_http)
    return RegistryTrust(plain=plain, authorities=authorities)
