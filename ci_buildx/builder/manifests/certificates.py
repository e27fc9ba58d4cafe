"""A certificate authority for one builder: signs one server and one client, then discards its key."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_buildx.builder.builder import SERVER_NAME
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

NAMES = (SERVER_NAME, "localhost", "127.0.0.1")

_SKEW = datetime.timedelta(minutes=30)
"""How far in the past validity starts: the runner's clock may be ahead of the cluster node's."""
_MARGIN = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePair:
    """A PEM certificate and its PEM key (PKCS #8)."""

    certificate: bytes
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Certificates of one builder; ``ca`` is the authority's PEM certificate, whose key is not stored."""

    ca: bytes
    server: CertificatePair
    client: CertificatePair


def issue(
    names: Sequence[str],
    lifetime: float,
    *,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> Certificates:
    """Issue ECDSA P-256 certificates for a server with ``names`` (DNS names or addresses) and for one client.

    They are valid from 30 minutes ago until an hour after ``lifetime`` seconds.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    moment = now()
    validity = (moment - _SKEW, moment + datetime.timedelta(seconds=lifetime) + _MARGIN)
    authority = _CertificateAuthority(ec.generate_private_key(ec.SECP256R1()), validity)
    return Certificates(
        ca=authority.encode_certificate(),
        server=authority.sign(SERVER_NAME, names),
        client=authority.sign("kube-builder", ()),
    )


def read_expiry(certificate: bytes) -> float:
    """Return when a PEM certificate expires, in epoch seconds."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


class _CertificateAuthority:
    """A certificate authority that signs for one validity period."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, validity: tuple[datetime.datetime, datetime.datetime]) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        self._key = key
        self._validity = validity
        self._name = _make_subject("kube-builder ephemeral CA")
        usage = _make_key_usage(signs_certificates=True)
        self._certificate = (
            self._make_builder(self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )

    def encode_certificate(self) -> bytes:
        """Return the authority's own certificate in PEM."""
        return _encode_certificate(self._certificate)

    def sign(self, common_name: str, names: Sequence[str]) -> CertificatePair:
        """Create a key and its certificate: a server's if it has ``names``, else a client's."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        draft = (
            self._make_builder(_make_subject(common_name), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_make_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            draft = draft.add_extension(
                x509.SubjectAlternativeName([_make_alternative_name(name) for name in names]), False
            )
        return CertificatePair(
            certificate=_encode_certificate(draft.sign(self._key, hashes.SHA256())), key=_encode_key(key)
        )

    def _make_builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        from cryptography import x509

        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._validity[0])
            .not_valid_after(self._validity[1])
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(authority, critical=False)
        )


def _make_subject(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _make_alternative_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make_key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _encode_certificate(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _encode_key(key: ec.EllipticCurvePrivateKey) -> Secret:
    from cryptography.hazmat.primitives import serialization

    return Secret(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
