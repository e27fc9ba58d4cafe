"""Values of which tests make manifests."""

from __future__ import annotations

from ci_buildx.builder.identity import JobOrigin
from ci_buildx.builder.manifests.certificates import CertificatePair, Certificates
from ci_buildx.model.secret import Secret

ORIGIN = JobOrigin(
    system="github", repository="team/hello", run="71", job="image", url="https://ci.example/team/hello/runs/71"
)
CERTIFICATES = Certificates(
    ca=b"ca",
    server=CertificatePair(certificate=b"server certificate", key=Secret(b"server key")),
    client=CertificatePair(certificate=b"client certificate", key=Secret(b"client key")),
)
