"""Calls to the API server that are needed to start and check a cluster."""

import http.client
import json
import ssl
from functools import cached_property
from typing import Any

from devcluster.errors import DevclusterError
from devcluster.layout import API_PORT, Cluster

# Paths of each kind (Kubernetes API reference); {} is the namespace.
COLLECTIONS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "MutatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicybindings",
    "Service": "/api/v1/namespaces/{}/services",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
}


class Api:
    """The API server, accessed as administrator."""

    def __init__(self, cluster: Cluster, *, timeout: float = 5) -> None:
        self.cluster = cluster
        self.timeout = timeout

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """TLS context with the administrator's certificate."""
        pki = self.cluster.pki
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "kubeconfig.crt", pki / "kubeconfig.key")
        return context

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send one request; return status and body of the answer. Raises OSError if there is no answer."""
        address = str(self.cluster.address)
        connection = http.client.HTTPSConnection(address, API_PORT, context=self.trust, timeout=self.timeout)
        headers = {"Content-Type": "application/apply-patch+yaml"} if method == "PATCH" else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as broken:
            raise ConnectionError(f"the API server's answer broke off: {broken!r}") from broken
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON document at `path`, or None for 404. Raises DevclusterError for other errors."""
        status, body = self.call("GET", path)
        if status == http.client.NOT_FOUND:
            return None
        if status >= http.client.BAD_REQUEST:
            raise DevclusterError(f"the API server answers {status} to GET {path}: {body.decode()[:500]}")
        return json.loads(body)

    def ready(self) -> bool:
        """Return whether the API server reports that it is ready."""
        try:
            return self.call("GET", "/readyz")[0] == http.client.OK
        except OSError:
            return False

    def apply(self, thing: dict[str, Any]) -> None:
        """Create an object or update it to this state (server-side apply)."""
        metadata = thing["metadata"]
        collection = COLLECTIONS[thing["kind"]].format(metadata.get("namespace", ""))
        path = f"{collection}/{metadata['name']}?fieldManager=devcluster&force=true"
        status, body = self.call("PATCH", path, thing)
        if status >= http.client.BAD_REQUEST:
            raise DevclusterError(f"{thing['kind']} {metadata['name']} is refused with {status}: {body.decode()[:500]}")
