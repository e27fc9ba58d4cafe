"""Kubernetes objects that every cluster starts with, as pure functions."""

from devcluster.layout import Cluster, Node

Object = dict[str, object]
ADMISSION_API = "admissionregistration.k8s.io/v1beta1"
RBAC_API = "rbac.authorization.k8s.io/v1"
DNS_USER = "system:coredns"


def initial(cluster: Cluster) -> list[Object]:
    """Return all objects; each comes after those that it refers to."""
    foreign = [node for node in cluster.nodes if node.architecture != "amd64"]
    return [
        *(policy for node in foreign for policy in architecture(node)),
        storage_class(),
        *dns_access(),
        *dns_service(cluster),
    ]


def architecture(node: Node) -> list[Object]:
    """Return the policy and the binding that set a cluster node's architecture.

    The kubelet's next status update would revert a label set from outside; this policy applies to every update.
    """
    name = f"architecture-{node.architecture}"
    labels = f'{{"kubernetes.io/arch": "{node.architecture}", "beta.kubernetes.io/arch": "{node.architecture}"}}'
    system = f'Object.status{{nodeInfo: Object.status.nodeInfo{{architecture: "{node.architecture}"}}}}'
    expression = f"Object{{metadata: Object.metadata{{labels: {labels}}}, status: {system}}}"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["nodes", "nodes/status"],
    }
    policy: Object = {
        "apiVersion": ADMISSION_API,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "node", "expression": f'object.metadata.name == "{node.name}"'}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    }
    binding: Object = {
        "apiVersion": ADMISSION_API,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    return [policy, binding]


def storage_class() -> Object:
    """Return the default StorageClass: folders in the cluster's own /tmp, created by the controller manager."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/host-path",
        "reclaimPolicy": "Delete",
    }


def dns_access() -> list[Object]:
    """Return the read access of CoreDNS (coredns, plugin/kubernetes)."""
    role: Object = {
        "apiVersion": RBAC_API,
        "kind": "ClusterRole",
        "metadata": {"name": DNS_USER},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding: Object = {
        "apiVersion": RBAC_API,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": DNS_USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DNS_USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DNS_USER}],
    }
    return [role, binding]


def dns_service(cluster: Cluster) -> list[Object]:
    """Return the service `kube-dns` for CoreDNS, which is a process next to the API server, not a pod."""
    protocols = [("dns", "UDP"), ("dns-tcp", "TCP")]
    ports = [{"name": name, "port": 53, "protocol": protocol} for name, protocol in protocols]
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": str(cluster.dns_service), "ports": ports},
    }
    slice_: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(cluster.address)], "conditions": {"ready": True}}],
        "ports": ports,
    }
    return [service, slice_]
