"""The cluster's certificate authority, its certificates, and kubeconfigs with them."""

import base64
import datetime
import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster.layout import Cluster

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFETIME = datetime.timedelta(days=365)
# A clock that was set back a little must not make a fresh certificate invalid.
BACKDATE = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of a certificate. Kubernetes reads the user from `name` (CN) and a group from `group` (O)."""

    name: str
    group: str = ""
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def ensure_authority(cluster: Cluster) -> None:
    """Create the authority and the key that signs service account tokens, unless they exist."""
    cluster.pki.mkdir(parents=True, exist_ok=True)
    if not (cluster.pki / "ca.crt").exists():
        key = new_key()
        subject = Subject(name=f"kube-builder devcluster {cluster.name}")
        write_pair(cluster.pki / "ca", key, certificate(subject, key, issuer=None))
    if not (cluster.pki / "accounts.pub").exists():
        write_account_keys(cluster.pki)


def ensure_pair(cluster: Cluster, file: str, subject: Subject) -> tuple[Path, Path]:
    """Return certificate and key, `pki/FILE.crt` and `.key`, for clients and servers; create them if missing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    base = cluster.pki / file
    pair = (base.with_name(f"{file}.crt"), base.with_name(f"{file}.key"))
    if not pair[0].exists():
        authority = x509.load_pem_x509_certificate((cluster.pki / "ca.crt").read_bytes())
        signer = serialization.load_pem_private_key((cluster.pki / "ca.key").read_bytes(), None)
        assert isinstance(signer, EllipticCurvePrivateKey)
        key = new_key()
        write_pair(base, key, certificate(subject, key, issuer=(authority, signer)))
    return pair


def server_certificate(
    cluster: Cluster, name: str, *, addresses: Sequence[str] = (), dns: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Return certificate and key of one of the cluster's own servers, for example a registry."""
    return ensure_pair(cluster, name, Subject(name=name, addresses=tuple(addresses), hosts=tuple(dns)))


def new_key() -> "EllipticCurvePrivateKey":
    """Generate a key on P-256: it takes a millisecond, and every TLS library supports it."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    subject: Subject,
    key: "EllipticCurvePrivateKey",
    issuer: "tuple[x509.Certificate, EllipticCurvePrivateKey] | None",
) -> "x509.Certificate":
    """Sign a certificate for `subject`; self-signed for an authority if `issuer` is None."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = distinguished_name(subject)
    now = datetime.datetime.now(datetime.UTC)
    signer = issuer[1] if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(key_usage(authority=issuer is None), critical=True)
    )
    names = alternative_names(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def distinguished_name(subject: Subject) -> "x509.Name":
    """Return CN and, with a group, O."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    group = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group)] if subject.group else []
    return x509.Name([*group, x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])


def key_usage(*, authority: bool) -> "x509.KeyUsage":
    """Return the key's usage: an authority signs certificates, other keys sign handshakes."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def alternative_names(subject: Subject) -> "list[x509.GeneralName]":
    """Return the addresses and host names of a server."""
    from cryptography import x509

    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in subject.addresses]
    return [*addresses, *(x509.DNSName(host) for host in subject.hosts)]


def write_pair(base: Path, key: "EllipticCurvePrivateKey", signed: "x509.Certificate") -> None:
    """Write key, then certificate: if the certificate exists, the pair is complete."""
    from cryptography.hazmat.primitives.serialization import Encoding

    write_private(base.with_name(f"{base.name}.key"), private_pem(key))
    replace(base.with_name(f"{base.name}.crt"), signed.public_bytes(Encoding.PEM))


def write_account_keys(pki: Path) -> None:
    """Write the pair that signs and verifies service account tokens."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = new_key()
    write_private(pki / "accounts.key", private_pem(key))
    replace(pki / "accounts.pub", key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def private_pem(key: "EllipticCurvePrivateKey") -> bytes:
    """Encode the key in the format that Go detects."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read from the start."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def replace(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)


def ensure_kubeconfig(cluster: Cluster, path: Path, subject: Subject) -> Path:
    """Write a self-contained kubeconfig, which can be copied elsewhere, unless it exists."""
    if not path.exists():
        crt, key = ensure_pair(cluster, path.name, subject)
        text = json.dumps(kubeconfig(cluster, crt.read_bytes(), key.read_bytes()), indent=2)
        fresh = path.with_name(f".{path.name}.new")
        write_private(fresh, text.encode())
        fresh.replace(path)
    return path


def kubeconfig(cluster: Cluster, crt: bytes, key: bytes) -> dict[str, object]:
    """Return the kubeconfig of a client certificate (JSON is YAML)."""

    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    name = f"devcluster-{cluster.name}"
    authority = encoded((cluster.pki / "ca.crt").read_bytes())
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": cluster.api_url, "certificate-authority-data": authority}}],
        "users": [
            {"name": name, "user": {"client-certificate-data": encoded(crt), "client-key-data": encoded(key)}},
        ],
    }
