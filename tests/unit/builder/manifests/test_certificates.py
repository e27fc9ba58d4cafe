import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ci_buildx.builder.manifests import certificates
from ci_buildx.builder.manifests.certificates import CertificatePair, Certificates

NOW = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def issued() -> Certificates:
    """Certificates that are valid for one hour from ``NOW``."""
    return certificates.issue(certificates.NAMES, 3600, now=lambda: NOW)


def read(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_validity_allows_for_a_runner_whose_clock_is_ahead(issued: Certificates) -> None:
    for pem in (issued.ca, issued.server.certificate, issued.client.certificate):
        assert read(pem).not_valid_before_utc == NOW - datetime.timedelta(minutes=30)
        assert read(pem).not_valid_after_utc == NOW + datetime.timedelta(hours=2)


def test_keys_are_on_p_256(issued: Certificates) -> None:
    key = read(issued.ca).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_server_is_known_by_its_names(issued: Certificates) -> None:
    names = read(issued.server.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["buildkitd", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_each_side_can_be_nothing_but_itself(issued: Certificates) -> None:
    purposes = {
        side: list(read(pair.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        for side, pair in (("server", issued.server), ("client", issued.client))
    }
    assert purposes == {"server": [ExtendedKeyUsageOID.SERVER_AUTH], "client": [ExtendedKeyUsageOID.CLIENT_AUTH]}


def test_private_keys_do_not_show(issued: Certificates) -> None:
    assert "PRIVATE" not in repr(issued)


def test_both_sides_accept_each_other(tmp_path: Path) -> None:
    issued = certificates.issue(certificates.NAMES, 3600)
    handshake(issued, tmp_path, client=issued.client)


def test_another_builders_client_is_refused(tmp_path: Path) -> None:
    issued, other = (certificates.issue(certificates.NAMES, 3600) for _ in range(2))
    with pytest.raises(ssl.SSLError):
        handshake(issued, tmp_path, client=other.client)


def handshake(issued: Certificates, folder: Path, *, client: CertificatePair) -> None:
    """TLS in memory between a server that asks for certificates and a client."""
    server_context = context(ssl.PROTOCOL_TLS_SERVER, issued.ca, issued.server, folder)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = context(ssl.PROTOCOL_TLS_CLIENT, issued.ca, client, folder)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(up, down, server_side=True)
    user = client_context.wrap_bio(down, up, server_hostname="buildkitd")
    for _ in range(3):
        for side in (user, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def context(protocol: int, ca: bytes, pair: CertificatePair, folder: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(protocol)
    made.load_verify_locations(cadata=ca.decode())
    file = folder / "pair.pem"
    file.write_bytes(pair.certificate + pair.key.reveal())
    made.load_cert_chain(file)
    return made
