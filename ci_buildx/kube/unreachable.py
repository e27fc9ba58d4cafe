"""Why a connection to the API server failed, in words that say what to do."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from ci_buildx.errors import KubeError, Unreachable
from ci_buildx.kube import tls

if TYPE_CHECKING:
    from ci_buildx.kube.config import Cluster

_CERTIFICATE_NOT_YET_VALID = 9
"""X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL 3."""
_CERTIFICATE_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL 3."""


def explain(cause: Exception, cluster: Cluster) -> KubeError:
    """The KubeError for what went wrong on the way to ``cluster``'s server."""
    if isinstance(cause, KubeError):
        return cause
    host, port = cluster.address
    where = f"{host}:{port}"
    if isinstance(cause, ssl.SSLError):
        return _explain_tls(cause, cluster, where)
    via = f" (by way of proxy {cluster.proxy.host}:{cluster.proxy.port})" if cluster.proxy else ""
    if isinstance(cause, socket.gaierror):
        return Unreachable(f"the API server's name {host!r} cannot be resolved", fix="check server in the kubeconfig")
    if isinstance(cause, TimeoutError):
        fix = "check the network between here and the cluster, and HTTPS_PROXY"
        return Unreachable(f"the API server {where}{via} gave no answer in time", fix=fix)
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(f"the API server {where}{via} refuses connections", fix="check that the cluster runs")
    reason = (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)
    return Unreachable(f"the connection to the API server {where}{via} failed: {reason}")


def _explain_tls(cause: ssl.SSLError, cluster: Cluster, where: str) -> Unreachable:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _explain_verification(cause, where)
    pair = cluster.credentials.key_pair()
    ended = tls.expired(pair) if pair else ""
    if ended:
        return Unreachable(f"the client certificate expired on {ended}", fix="get a new kubeconfig")
    reason = cause.reason or str(cause)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        fix = "use http:// as server in the kubeconfig, or another port"
        return Unreachable(f"{where} does not speak TLS", fix=fix)
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        fix = "check client-certificate in the kubeconfig"
        return Unreachable(f"the API server {where} refuses the client certificate: {reason}", fix=fix)
    return Unreachable(f"TLS with the API server {where} failed: {reason}")


def _explain_verification(cause: ssl.SSLCertVerificationError, where: str) -> Unreachable:
    if cause.verify_code == _CERTIFICATE_EXPIRED:
        return Unreachable(f"the certificate of the API server {where} has expired", fix="renew it, or check the clock")
    if cause.verify_code == _CERTIFICATE_NOT_YET_VALID:
        message = f"the certificate of the API server {where} is not valid yet"
        return Unreachable(message, fix="set the clock of this machine, or renew the certificate")
    if "mismatch" in cause.verify_message.lower():
        fix = "check server, or set tls-server-name in the kubeconfig"
        return Unreachable(f"the certificate of the API server is for another name: {cause.verify_message}", fix=fix)
    fix = "check certificate-authority in the kubeconfig"
    return Unreachable(f"the API server {where} is not to be trusted: {cause.verify_message}", fix=fix)
