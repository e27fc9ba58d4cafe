"""YAML with which a cluster's administrator grants each mode its rights; docs/rbac has it and `doctor` prints it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence

from ci_buildx import RUNNER_IMAGE
from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.rbac import admission_policies, object_policies, pod_policies, rights
from ci_buildx.builder.rbac.rights import INSIDE, RBAC_GROUP, REAPER, RightsMode, RoleRule
from ci_buildx.errors import InputError

ACCOUNT = "kube-builder"
ACCOUNTS = "kube-builder"
"""Namespace of the jobs' accounts."""
LASTING = "kube-builder-lasting"
LISTING = "kube-builder-listing"
LOOKING = "kube-builder-looking"
SYSTEM = "kube-system"
"""Namespace of the reaper by default: no stranger can have created it, or can create pods in it."""
EXAMPLE_NAMESPACE = "ci-builds"
UNCONFINED = "kube-builder-unconfined"
HOST_ACCESS = "kube-builder-host-access"
ACCOUNT_LABEL = f"{labels.DOMAIN}account"
"""Label of objects that belong to one account."""

_ACCOUNT_PREFIX = "system:serviceaccount:"
"""Prefix of every service account's user name (kubernetes 1.34, ``pkg/serviceaccount``)."""
_LONG = 70
"""Longest text, in characters, that is not folded over several lines."""

_HEADS = {
    RightsMode.NAMESPACE: """\
Builders in one namespace that already exists: `kube-builder build --namespace {namespace}`.
Needs no rights outside it. Replace {namespace} with yours. These rights include reading its Secrets, so it should
contain nothing else. It must admit privileged pods (or rootless ones, with driver-opt rootless).
The second Role is for lasting builders, made by `kube-builder create`: omit it if jobs only build.
Privileged pods need user namespaces: `doctor --roles unconfined --namespace {namespace}` prints the opt-out.""",
    RightsMode.JOBS: """\
A namespace for each job: the default of `kube-builder build`. Needs Kubernetes 1.30 or later.
Each account in the namespace {accounts}, and each user in the group kube-builder:jobs, may create namespaces that
are named and labelled as builders' and annotated with its user name, and grant itself a role in those. It has no
other rights. An account for each team keeps teams out of each other's builders.
First run `kubectl create namespace {accounts}`. If it exists and is not yours, delete it: its creator could use
the accounts in it.""",
    RightsMode.REAPER: """\
Rights of `kube-builder reap` if each job has a namespace: delete builders' namespaces, and no others.
Needs Kubernetes 1.30 or later. The account is in kube-system, where only administrators create pods and tokens.
If kube-system is read-only: `doctor --roles reaper --namespace NAME` prints this for another namespace.""",
    RightsMode.LISTING: """\
For the account of namespace.yaml: `kube-builder ls` in all namespaces, and builders by name without --namespace.
RBAC cannot limit this to builders: an account with these rights can read the specs of all Deployments, StatefulSets,
Jobs and pods of the cluster, including the variables in them, but no Secrets. Omit it if that is too much: `ls` then
shows the context's namespace, or the one of --namespace. Without the Secrets of builders in other namespaces,
`ls` does not connect to their buildkitd.""",
    RightsMode.LOOKING: """\
For the account of namespace.yaml: read the cluster's nodes, the addresses of services, and the status of
cluster-autoscaler. kube-builder then plans for the architectures that the cluster has, knows which nodes have user
namespaces, and gives up after 2 s instead of 12 if a pod fits no node.""",
}

_REAPER_ELSEWHERE = """\
Rights of `kube-builder reap` if each job has a namespace: delete builders' namespaces, and no others.
Needs Kubernetes 1.30 or later. Anyone who can create pods or tokens in {namespace} can act as the reaper.
First run `kubectl create namespace {namespace}`. If it exists and is not yours, choose another name.
Then `kube-builder doctor --mode reaper --namespace {namespace}` shows who else can do that."""

_JOBS_OF_ONE = """\
A namespace for each job: the default of `kube-builder build`. Needs Kubernetes 1.30 or later.
The account named in the binding may create namespaces that are named and labelled as builders' and annotated with its
user name, and grant itself a role in those. It has no other rights."""

_CONFINING = """\
For clusters whose nodes have user namespaces: in namespaces of builders, a privileged pod must run in one, so that
root in it is an unprivileged user on the node, and no pod may use the host's network, processes, ports or folders.
Apply it in addition to jobs.yaml. It also covers the namespace of namespace.yaml if that has the labels
app.kubernetes.io/managed-by=kube-builder and kube-builder.dev/builder=shared. Needs Kubernetes 1.30 or later."""

_UNCONFINED = """\
The opt-out from user namespaces, in addition to jobs.yaml: jobs' accounts may run privileged pods that are root on
their nodes. For clusters whose nodes have no user namespaces, and for driver-opt qemu.install. Anyone with such an
account can become root on every node of the cluster: a pod may choose its node and tolerate all taints."""
_HOST_ACCESS = """\
The opt-out from the rules on the host, in addition to jobs.yaml: pod templates of jobs' accounts may have hostNetwork,
hostPID, hostIPC, hostPath and hostPort. With hostPath an account can read every file of a node, including its keys."""


def render_roles(mode: RightsMode, *, namespace: str = EXAMPLE_NAMESPACE, user: str = "") -> str:
    """Return what to apply for ``mode``, as YAML with comments.

    ``namespace`` holds the builders of mode ``namespace``. ``user`` gets the rights instead of the account that the
    YAML creates; a reaper always has its own account.
    """
    own = mode is RightsMode.JOBS and _is_stranger(user)
    head = _JOBS_OF_ONE if own else _HEADS[mode].format(namespace=namespace, accounts=ACCOUNTS)
    return _render_sheet(head, make_role_manifests(mode, namespace=namespace, user=user))


def render_reaper_roles(namespace: str) -> str:
    """Return what to apply for the reaper in ``namespace``, as YAML with comments. Raises InputError.

    See :func:`make_reaper_manifests`.
    """
    if namespace == SYSTEM:
        return render_roles(RightsMode.REAPER)
    return _render_sheet(_REAPER_ELSEWHERE.format(namespace=namespace), make_reaper_manifests(namespace))


def make_reaper_manifests(namespace: str = SYSTEM) -> list[Manifest]:
    """Return what to apply for the reaper, with its account in ``namespace``.

    Raises InputError for a namespace that jobs' accounts are in or may create.
    """
    _check_reaper_namespace(namespace)
    subject = _make_account_subject(REAPER, namespace)
    return [
        *([] if namespace == SYSTEM else [_make_namespace(namespace)]),
        _make_account(REAPER, namespace),
        *admission_policies.make_reaper_policy(f"{_ACCOUNT_PREFIX}{namespace}:{REAPER}"),
        _make_role(REAPER, rights.REAPING),
        _make_binding(REAPER, [subject]),
    ]


def _check_reaper_namespace(namespace: str) -> None:
    if namespace.startswith(ACCOUNTS):
        why = f"namespace {namespace!r} is not safe for the reaper: jobs' accounts are in it or may create it"
        raise InputError(why, source="--namespace", fix=f"choose a name that does not begin with {ACCOUNTS}")


def _render_sheet(head: str, manifests: Iterable[Manifest]) -> str:
    documents = [_render_with_comments(each) for each in manifests]
    return "".join(f"# {line}\n" for line in head.splitlines()) + "---\n" + "---\n".join(documents)


def make_role_manifests(mode: RightsMode, *, namespace: str = EXAMPLE_NAMESPACE, user: str = "") -> list[Manifest]:
    """Return what to apply for ``mode`` as objects, each after those that it refers to."""
    made: dict[RightsMode, Callable[[], list[Manifest]]] = {
        RightsMode.NAMESPACE: lambda: _make_namespace_roles(namespace, user),
        RightsMode.JOBS: lambda: _make_job_roles(user),
        RightsMode.REAPER: make_reaper_manifests,
        RightsMode.LISTING: lambda: _make_cluster_role(LISTING, rights.LISTING, namespace, user),
        RightsMode.LOOKING: lambda: _make_cluster_role(LOOKING, rights.LOOKING, namespace, user),
    }
    return made[mode]()


def render_confined_pods() -> str:
    """Return the YAML that keeps builders from being root on a cluster node.

    It grants no rights, and restricts all modes.
    """
    return _render_sheet(_CONFINING, pod_policies.make_builder_policies())


def make_account_label(user: str) -> str:
    """Return a part of object names that is unique to ``user``: a DNS label of at most 49 characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", user.removeprefix(_ACCOUNT_PREFIX).lower()).strip("-")[:32].rstrip("-")
    return f"{slug or 'user'}-{hashlib.sha256(user.encode()).hexdigest()[:16]}"


def render_unconfined(namespace: str = "") -> str:
    """Return YAML that allows privileged pods without user namespaces, for jobs' accounts or in one ``namespace``."""
    return _render_opt_out(UNCONFINED, rights.UNCONFINE, _UNCONFINED, namespace)


def render_host_access(namespace: str = "") -> str:
    """Return YAML that allows the host's network, ports and folders, for jobs' accounts or in one ``namespace``."""
    return _render_opt_out(HOST_ACCESS, rights.USE_HOST, _HOST_ACCESS, namespace)


def _render_opt_out(name: str, verb: str, head: str, namespace: str) -> str:
    rule = {"apiGroups": [rights.GRANT_GROUP], "resources": [rights.GRANT_RESOURCE], "verbs": [verb]}
    role = {**_make_role(name, ()), "rules": [rule]}
    binding = _make_binding(name, map(_make_group_subject, admission_policies.JOB_GROUPS))
    if namespace:
        binding = {
            **_make_binding(name, [_make_account_subject(ACCOUNT, namespace)], namespace),
            "roleRef": binding["roleRef"],
        }
    documents = [_render_yaml(each) for each in (role, binding)]
    return "".join(f"# {line}\n" for line in head.splitlines()) + "---\n" + "---\n".join(documents)


def _make_namespace_roles(namespace: str, user: str) -> list[Manifest]:
    subject = _make_subject(user) if user else _make_account_subject(ACCOUNT, namespace)
    suffix = f"-{make_account_label(user)}" if user else ""
    holder = user or f"{_ACCOUNT_PREFIX}{namespace}:{ACCOUNT}"
    held = admission_policies.is_user(holder)
    # Neither part contains a dot, so no namespace's name leads to the policy of another account.
    known = f".{namespace}.{make_account_label(user)}" if user else f".{namespace}"
    made = [
        *([] if user else [_make_account(ACCOUNT, namespace)]),
        _make_role(ACCOUNT, rights.BUILDING, namespace),
        _make_binding(ACCOUNT, [subject], namespace, suffix=suffix),
        _make_role(LASTING, rights.KEEPING, namespace),
        _make_binding(LASTING, [subject], namespace, suffix=suffix),
    ]
    policies = [
        *pod_policies.make_pod_policies(f"{pod_policies.PODS}{known}", held),
        *object_policies.make_object_policies(f"{object_policies.OBJECTS}{known}", held),
    ]
    return [*policies, *made] if not user else [_add_label(each, user) for each in (*policies, *made)]


def _make_job_roles(user: str) -> list[Manifest]:
    name = "kube-builder-jobs"
    roles = [
        _make_role(INSIDE, (*rights.BUILDING, *rights.LEAVING)),
        _make_role(name, (*rights.ENTERING, *rights.LOOKING, *rights.SWEEPING)),
    ]
    if not _is_stranger(user):
        return [
            _make_namespace(ACCOUNTS),
            *([] if user else [_make_account(ACCOUNT, ACCOUNTS)]),
            *_make_job_policies(admission_policies.is_job()),
            *roles,
            _make_binding(name, map(_make_group_subject, admission_policies.JOB_GROUPS)),
        ]
    # Nothing for the namespace of accounts: it may be a stranger's, and this account is not in it.
    suffix = f"-{make_account_label(user)}"
    policies = _make_job_policies(admission_policies.is_user(user), suffix)
    binding = _make_binding(name, [_make_subject(user)], suffix=suffix)
    return [*(_add_label(each, user) for each in policies), *roles, _add_label(binding, user)]


def _is_stranger(user: str) -> bool:
    """Return whether ``user`` is given and is not an account in the namespace of jobs' accounts."""
    return bool(user) and not user.startswith(f"{_ACCOUNT_PREFIX}{ACCOUNTS}:")


def _make_job_policies(a_job: str, suffix: str = "") -> list[Manifest]:
    return [
        *admission_policies.make_job_policies(a_job, suffix),
        *pod_policies.make_pod_policies(f"{pod_policies.PODS}{suffix}", a_job),
        *object_policies.make_object_policies(f"{object_policies.OBJECTS}{suffix}", a_job),
    ]


def _add_label(manifest: Manifest, user: str) -> Manifest:
    """Add a label that finds all objects of one account; objects that accounts share get none."""
    metadata = manifest["metadata"]
    if make_account_label(user) not in metadata["name"]:
        return manifest
    return {**manifest, "metadata": {**metadata, "labels": {ACCOUNT_LABEL: make_account_label(user)}}}


def _make_cluster_role(name: str, rules: tuple[RoleRule, ...], namespace: str, user: str) -> list[Manifest]:
    """Return a cluster-wide role and its binding to the account of a namespace."""
    subject = _make_subject(user) if user else _make_account_subject(ACCOUNT, namespace)
    # Each namespace and user has its own binding, so that applying one takes nothing from another.
    own = f".{namespace}.{make_account_label(user)}" if user else f".{namespace}"
    binding = _make_binding(name, [subject], suffix=own)
    return [_make_role(name, rules), _add_label(binding, user) if user else binding]


def _make_namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _make_account(name: str, namespace: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _make_role(name: str, rules: Sequence[RoleRule], namespace: str = "") -> Manifest:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": kind,
        "metadata": _make_metadata(name, namespace),
        "rules": [_make_rule(rule) for rule in rules],
    }


def _make_rule(rule: RoleRule) -> Manifest:
    named = {"resourceNames": list(rule.names)} if rule.names else {}
    return {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs), **named}


def _make_binding(role: str, subjects: Iterable[Manifest], namespace: str = "", suffix: str = "") -> Manifest:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": _make_metadata(f"{role}{suffix}", namespace),
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": role},
        "subjects": list(subjects),
    }


def _render_with_comments(manifest: Manifest) -> str:
    """Return a manifest as YAML, with a comment above each rule of a role that explains it."""
    lines = _render_yaml(manifest).splitlines(keepends=True)
    reasons = iter([_REASONS[_make_rule_key(rule)] for rule in manifest.get("rules", ())])
    return "".join(f"# {next(reasons)}\n{line}" if line.startswith("- apiGroups:") else line for line in lines)


def _render_yaml(manifest: Manifest) -> str:
    import yaml

    class RoleDumper(yaml.SafeDumper):
        """A dumper that keeps lists of words on one line and folds CEL expressions for readability."""

        def represent_str(self, text: str) -> yaml.ScalarNode:
            style = ">" if len(text) > _LONG else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    RoleDumper.add_representer(str, RoleDumper.represent_str)
    return yaml.dump(
        manifest, Dumper=RoleDumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )


def _make_rule_key(rule: Manifest) -> tuple[str, ...]:
    return (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


_REASONS = {
    _make_rule_key(_make_rule(rule)): rule.why
    for rules in (
        rights.BUILDING,
        rights.KEEPING,
        rights.LEAVING,
        rights.ENTERING,
        rights.LOOKING,
        rights.SWEEPING,
        rights.REAPING,
        rights.LISTING,
    )
    for rule in rules
}


def _make_metadata(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def _make_account_subject(name: str, namespace: str) -> Manifest:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _make_subject(user: str) -> Manifest:
    """Return the RBAC subject for a user name; that of a service account contains its namespace."""
    if user.startswith(_ACCOUNT_PREFIX):
        namespace, _, name = user.removeprefix(_ACCOUNT_PREFIX).partition(":")
        return _make_account_subject(name, namespace)
    return {"kind": "User", "name": user, "apiGroup": RBAC_GROUP}


def _make_group_subject(name: str) -> Manifest:
    return {"kind": "Group", "name": name, "apiGroup": RBAC_GROUP}


def render_reaper_cronjob(namespace: str = SYSTEM) -> str:
    """Return the CronJob as YAML, for the reaper's account in ``namespace``; every namespace admits its pods.

    Raises InputError for a namespace that jobs' accounts are in or may create.
    """
    _check_reaper_namespace(namespace)
    return f"""\
# Runs `kube-builder reap` every five minutes, with the rights of reaper.yaml: apply that first.
# With a private mirror of the image, replace `image`: nothing else names it.
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {REAPER}, namespace: {namespace}}}
spec:
  schedule: "*/5 * * * *"
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 200
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      activeDeadlineSeconds: 900
      backoffLimit: 0
      template:
        spec:
          serviceAccountName: {REAPER}
          restartPolicy: Never
          securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
          containers:
          - name: reap
            image: {RUNNER_IMAGE}
            command: [kube-builder, reap]
            env:
            - {{name: HOME, value: /tmp}}
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities: {{drop: [ALL]}}
            resources:
              requests: {{cpu: 50m, memory: 64Mi}}
              limits: {{memory: 256Mi}}
"""
