from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from devcluster import layout, pki
from devcluster.layout import Cluster


@pytest.fixture
def own_cluster(tmp_path: Path) -> Cluster:
    """A cluster's files with a certificate authority."""
    made = layout.cluster("unit", tmp_path)
    pki.ensure_authority(made)
    return made


def test_certificates_are_signed_by_the_clusters_authority(own_cluster: Cluster) -> None:
    subject = pki.Subject(name="system:node:a", group="system:nodes", addresses=("198.18.0.2",), hosts=("a",))
    crt, key = pki.ensure_pair(own_cluster, "a", subject)
    certificate = x509.load_pem_x509_certificate(crt.read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((own_cluster.pki / "ca.crt").read_bytes()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["198.18.0.2"]
    assert names.get_values_for_type(x509.DNSName) == ["a"]
    assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"
    private = load_pem_private_key(key.read_bytes(), None)
    assert private.public_key() == certificate.public_key()


def test_keys_are_their_owners_alone_and_stay(own_cluster: Cluster) -> None:
    first = pki.ensure_pair(own_cluster, "a", pki.Subject(name="a"))
    content = [path.read_bytes() for path in first]
    assert first[1].stat().st_mode & 0o077 == 0
    pki.ensure_authority(own_cluster)
    assert [path.read_bytes() for path in pki.ensure_pair(own_cluster, "a", pki.Subject(name="a"))] == content


def test_a_kubeconfig_holds_all_it_needs(own_cluster: Cluster) -> None:
    import yaml

    path = pki.ensure_kubeconfig(own_cluster, own_cluster.kubeconfig, pki.Subject(name="admin", group="system:masters"))
    config = yaml.safe_load(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == own_cluster.api_url
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert path.stat().st_mode & 0o077 == 0
