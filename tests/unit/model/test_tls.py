"""Which certificates a client accepts."""

import ssl

import pytest

from ci_buildx.model import http_calls
from ci_buildx.model.tls import make_client_context
from tests.unit.kube.authority import Authority
from tests.unit.registry.hostile import hostile

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.mark.parametrize("system", [True, False])
def test_servers_are_verified_but_not_strictly(system: bool) -> None:
    """Python 3.13's own default refuses many private authorities' certificates, which programs in Go accept."""
    context = make_client_context(system=system)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert system or not context.get_ca_certs()


def test_a_service_of_a_private_authority_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = Authority()
    bundle = tmp_path_factory.mktemp("trust") / "ca.pem"
    bundle.write_bytes(authority.pem)
    with hostile() as server:
        server.tls, server.head = authority.server(), ANSWER
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        assert http_calls.send_request("GET", f"https://{server.address}/", timeout=20).content == b"{}"
