"""Admission policies for what kube-builder's accounts create: pods without host access, no foreign tokens.

They select requests by user, not by namespace: an account may create only workloads, so each pod template is checked
here, regardless of which account creates the pods. Fields as in core/v1 (Kubernetes 1.34); sysctls and SELinux types as
in PodSecurity's baseline level (k8s.io/pod-security-admission v0.34.2, ``policy``). An administrator lifts a rule by
RBAC: the policies ask the authorizer whether the user holds a verb on a resource that exists for this purpose only.
"""

from __future__ import annotations

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.rbac import admission_policies
from ci_buildx.builder.rbac.object_policies import IS_OWN_MARK, WORKLOADS, format_list
from ci_buildx.builder.rbac.rights import GRANT_GROUP, GRANT_RESOURCE, UNCONFINE, USE_HOST

PODS = "kube-builder-pods"

_SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_VOLUMES = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("image", "persistentVolumeClaim", "projected", "secret"),
)
"""Volume types of PodSecurity's level restricted.

The others mount a disk, a share or a folder that the cluster node can reach, and no object of the namespace owns it.
"""
_LONGEST_GRACE = 86_400
"""Longest time in seconds that pods may take to end: the deletion of their namespace waits as long."""
POD_EXTENSIONS = (
    # kubelet: static and mirror pods (kubernetes v1.34.2, ``pkg/kubelet/types/pod_update.go``).
    "kubernetes.io/config.",
    # kube2iam and kiam: the AWS role of the pod.
    "iam.amazonaws.com/",
    # Istio's injector: volumes, also hostPath, and the images of privileged containers.
    "inject.istio.io/",
    "proxy.istio.io/overrides",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/userVolume",
    # Linkerd's injector: images of containers with capabilities.
    "config.linkerd.io/init-image",
    "config.linkerd.io/proxy-image",
    # Multus: interfaces in other networks.
    "k8s.v1.cni.cncf.io/",
    "v1.multus-cni.io/",
    # CRI-O, Kata Containers, gVisor: devices, user namespaces, programs on the node.
    "io.kubernetes.cri-o.",
    "io.katacontainers.",
    "dev.gvisor.",
)
"""Beginnings of annotations by which other software gives a pod more than its spec says."""

_TEMPLATE = (
    "object.kind == 'CronJob' ? object.spec.jobTemplate.spec.template"
    " : object.kind == 'PodTemplate' ? object.template"
    " : object.spec.template"
)
_CONTAINERS = (
    "variables.spec.?containers.orValue([]) + variables.spec.?initContainers.orValue([])"
    " + variables.spec.?ephemeralContainers.orValue([])"
)
_POD_CONTEXT = "variables.spec.?securityContext"
_CONTEXT = "c.?securityContext"
_HAS_BUILDER = {"key": labels.BUILDER, "operator": "Exists"}
_OTHER_VOLUMES = "pods of builders must not have volumes of types that PodSecurity's level restricted refuses"
_USES_ROOT = f"{_CONTEXT}.privileged.orValue(false) || {_CONTEXT}.capabilities.add.orValue([]).size() > 0"


def make_pod_policies(name: str, condition: str) -> list[Manifest]:
    """Return the policies on pods and workloads created by the users of ``condition`` (CEL)."""
    root = (
        (
            "!variables.root || !variables.spec.?hostUsers.orValue(true) || variables.unconfined",
            (
                "privileged containers and added capabilities need hostUsers: false (driver-opt user-namespaces=true); "
                "where nodes have no user namespaces, docs/rbac/unconfined.yaml allows them"
            ),
        ),
    )
    return admission_policies.make_policy(
        name,
        *(admission_policies.make_rule(resources, "CREATE", "UPDATE", group=group) for group, resources in WORKLOADS),
        conditions={"a-job": condition},
        variables=_make_pod_variables(),
        validations=(
            *_make_host_rules(),
            *_make_identity_rules(),
            *_make_ending_rules(),
            *_make_kernel_rules(),
            _make_loose_rule(lifted=True),
            *root,
        ),
    )


def make_builder_policies() -> list[Manifest]:
    """Return the policies on pods in builders' namespaces, for all users.

    A privileged pod is root only in a user namespace, and no pod has host access. A user's opt-out cannot count,
    because a Job's pods are created by the Job controller. Existing pods may still be changed; otherwise they could not
    even be removed.
    """
    shares = " || ".join(f"variables.spec.?host{part}.orValue(false)" for part in ("Network", "PID", "IPC"))
    ports = "variables.containers.exists(c, c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) > 0))"
    known = _make_pod_variables()
    return admission_policies.make_policy(
        "kube-builder-confined-pods",
        admission_policies.make_rule("pods", "CREATE"),
        admission_policies.make_rule("pods/ephemeralcontainers", "UPDATE"),
        selector={"matchLabels": {labels.MANAGED_BY: labels.MANAGER}, "matchExpressions": [_HAS_BUILDER]},
        variables={
            "spec": "object.spec",
            "notes": "object.metadata.?annotations.orValue({})",
            **{name: known[name] for name in ("containers", "volumes", "root", "loose")},
        },
        validations=(
            (
                "!variables.root || !variables.spec.?hostUsers.orValue(true)",
                "privileged pods of builders need hostUsers: false (driver-opt user-namespaces=true)",
            ),
            (
                f"!({shares}) && !variables.volumes.exists(v, has(v.hostPath)) && !{ports}",
                "pods of builders must not use the host's network, processes, ports or folders",
            ),
            (f"variables.volumes.all(v, has(v.hostPath) || {_is_common_volume()})", _OTHER_VOLUMES),
            *_make_kernel_rules(),
            _make_loose_rule(lifted=False),
        ),
    )


def _make_pod_variables() -> dict[str, str]:
    grant = f"authorizer.group('{GRANT_GROUP}').resource('{GRANT_RESOURCE}').namespace(request.namespace)"
    profile = "securityContext.seccompProfile.type.orValue('') == 'Unconfined'"
    armor = "securityContext.appArmorProfile.type.orValue('') == 'Unconfined'"
    return {
        "template": f"object.kind == 'Pod' ? object : ({_TEMPLATE})",
        "spec": "variables.template.spec",
        "notes": "variables.template.?metadata.annotations.orValue({})",
        "containers": _CONTAINERS,
        "volumes": "variables.spec.?volumes.orValue([])",
        "account": "variables.spec.?serviceAccountName.orValue('')",
        "root": f"variables.containers.exists(c, {_USES_ROOT})",
        "loose": f"variables.spec.?{profile} || variables.spec.?{armor}"
        f" || variables.containers.exists(c, (c.?{profile} || c.?{armor})"
        f" && {_CONTEXT}.runAsUser.orValue({_POD_CONTEXT}.runAsUser.orValue(0)) == 0)"
        " || variables.notes.exists(k, k.startsWith('container.apparmor.security.beta.kubernetes.io/')"
        " && variables.notes[k] == 'unconfined' && variables.containers.exists(c, k.endsWith('/' + c.name)"
        f" && {_CONTEXT}.runAsUser.orValue({_POD_CONTEXT}.runAsUser.orValue(0)) == 0))",
        "unconfined": f"{grant}.check('{UNCONFINE}').allowed()",
        "host": f"{grant}.check('{USE_HOST}').allowed()",
    }


def _make_host_rules() -> tuple[tuple[str, str], ...]:
    shares = " || ".join(f"variables.spec.?host{part}.orValue(false)" for part in ("Network", "PID", "IPC"))
    remedy = "remove it from the pod template, or apply docs/rbac/host-access.yaml"
    extends = " || ".join(f"k.startsWith('{beginning}')" for beginning in POD_EXTENSIONS)
    return (
        (
            f"!({shares}) || variables.host",
            f"pods of builders must not have hostNetwork, hostPID or hostIPC: {remedy}",
        ),
        (
            "!variables.volumes.exists(v, has(v.hostPath)) || variables.host",
            f"pods of builders must not have hostPath volumes: {remedy}",
        ),
        (
            (
                "!variables.containers.exists(c, c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) > 0))"
                " || variables.host"
            ),
            f"containers of builders must not have a hostPort: {remedy}",
        ),
        (
            f"variables.volumes.all(v, has(v.hostPath) || {_is_common_volume()}) || variables.host",
            f"{_OTHER_VOLUMES}: {remedy}",
        ),
        (
            f"variables.notes.all(k, !({extends})) || variables.host",
            f"pods of builders must not have annotations by which other software extends them: {remedy}",
        ),
        (
            "object.kind != 'Pod' || variables.spec.?ephemeralContainers.orValue([]).size() == 0",
            "pods of builders must not have ephemeral containers",
        ),
    )


def _is_common_volume() -> str:
    """Return the CEL condition that volume ``v`` is of a type that every namespace may use."""
    return "(" + " || ".join(f"has(v.{kind})" for kind in _VOLUMES) + ")"


def _make_ending_rules() -> tuple[tuple[str, str], ...]:
    claims = "v.?ephemeral.volumeClaimTemplate.metadata"
    return (
        (
            f"variables.spec.?terminationGracePeriodSeconds.orValue(0) <= {_LONGEST_GRACE}",
            f"pods of builders must end within {_LONGEST_GRACE} seconds (driver-opt grace-period)",
        ),
        (
            (
                f"variables.volumes.all(v, {claims}.labels.orValue({{}}).all(k, {IS_OWN_MARK})"
                f" && {claims}.annotations.orValue({{}}).all(k, {IS_OWN_MARK}))"
            ),
            "claims of builders' volumes may have only labels and annotations of kube-builder",
        ),
    )


def _make_identity_rules() -> tuple[tuple[str, str], ...]:
    account = (
        "authorizer.group('').resource('serviceaccounts').namespace(request.namespace).name(string(variables.account))"
    )
    return (
        (
            (
                "(variables.account in ['', 'default'] && variables.spec.?serviceAccount.orValue('') in ['',"
                " 'default'])"
                f" || {account}.check('use').allowed()"
            ),
            (
                "pods of builders must run as the service account default: a Role with the verb use on serviceaccounts "
                "allows another one"
            ),
        ),
        (
            "!variables.spec.?priorityClassName.orValue('').startsWith('system-')",
            "pods of builders must not have a priority class of the system",
        ),
    )


def _make_kernel_rules() -> tuple[tuple[str, str], ...]:
    selinux = "seLinuxOptions"
    parts = [f"{_POD_CONTEXT}.{selinux}.{part}.orValue('')" for part in ("user", "role")]
    own = [f"{_CONTEXT}.{selinux}.{part}.orValue('')" for part in ("user", "role")]
    types = format_list(_SELINUX_TYPES)
    return (
        (
            f"{_POD_CONTEXT}.sysctls.orValue([]).all(s, s.name in {format_list(_SAFE_SYSCTLS)})",
            "pods of builders must not have unsafe sysctls",
        ),
        (
            (
                f"{_POD_CONTEXT}.{selinux}.type.orValue('') in {types}"
                f" && {' && '.join(f'{part} == {chr(39) * 2}' for part in parts)}"
                f" && variables.containers.all(c, {_CONTEXT}.{selinux}.type.orValue('') in {types}"
                f" && {' && '.join(f'{part} == {chr(39) * 2}' for part in own)})"
            ),
            "pods of builders must not have SELinux options other than the types of containers",
        ),
        (
            (
                f"!variables.containers.exists(c, {_CONTEXT}.procMount.orValue('Default') == 'Unmasked')"
                " || !variables.spec.?hostUsers.orValue(true)"
            ),
            "procMount: Unmasked needs hostUsers: false",
        ),
        (
            (
                f"!{_POD_CONTEXT}.windowsOptions.hostProcess.orValue(false)"
                f" && !variables.containers.exists(c, {_CONTEXT}.windowsOptions.hostProcess.orValue(false))"
            ),
            "pods of builders must not be host processes",
        ),
    )


def _make_loose_rule(*, lifted: bool) -> tuple[str, str]:
    """Return the rule on unconfined seccomp or AppArmor; ``lifted`` if unconfined.yaml allows them."""
    needs = "seccomp and AppArmor Unconfined need hostUsers: false or a container that is not root"
    closed = "!variables.loose || !variables.spec.?hostUsers.orValue(true)"
    if not lifted:
        return closed, f"{needs} (driver-opt rootless)"
    return (
        f"{closed} || variables.unconfined",
        f"{needs} (driver-opt rootless); docs/rbac/unconfined.yaml allows them",
    )
