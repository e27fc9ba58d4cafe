"""The YAML by which a cluster's administrator gives each mode its rights: what docs/rbac holds and `doctor` prints."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence

from ci_buildx.builder import fence, labels, pod_policy, rights
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.rights import INSIDE, RBAC_GROUP, REAPER, Mode, Rule

ACCOUNT = "kube-builder"
ACCOUNTS = "kube-builder"
"""The namespace of the jobs' accounts."""
LASTING = "kube-builder-lasting"
LISTING = "kube-builder-listing"
LOOKING = "kube-builder-looking"
SYSTEM = "kube-system"
"""Where the reaper is: a namespace that no stranger can have made before, and in which none makes pods."""
EXAMPLE_NAMESPACE = "ci-builds"
UNCONFINED = "kube-builder-unconfined"
HOST_ACCESS = "kube-builder-host-access"
ACCOUNT_LABEL = f"{labels.DOMAIN}account"
"""The label of objects that are one account's own."""

_ACCOUNT_PREFIX = "system:serviceaccount:"
"""How the name of every service account begins (kubernetes 1.34, ``pkg/serviceaccount``)."""
_LONG = 70
"""Characters of a text that is folded over several lines."""

_HEADS = {
    Mode.NAMESPACE: """\
Builders in one namespace that is there already: `kube-builder build --namespace {namespace}`.
Needs no right outside it. Replace {namespace} by yours; whoever holds this can read its Secrets, so let it hold
nothing else. It must admit privileged pods (or rootless ones, with driver-opt rootless).
The second Role is for lasting builders, made by `kube-builder create`: leave it out where jobs only build.
Privileged pods need user namespaces: `doctor --roles unconfined --namespace {namespace}` prints the opt-out.""",
    Mode.JOBS: """\
A namespace for each job: the default of `kube-builder build`. Needs Kubernetes 1.30 or later.
Each account in the namespace {accounts}, and each user in the group kube-builder:jobs, may make namespaces that are
called and labelled as builders' and signed with its name, and let itself into those: nothing else anywhere.
An account for each team keeps teams out of each other's builders.
First run `kubectl create namespace {accounts}`. If it exists and is not yours, delete it: whoever made it can use
the accounts in it.""",
    Mode.REAPER: """\
What `kube-builder reap` may do where each job has a namespace: delete builders' namespaces, and no others.
Needs Kubernetes 1.30 or later. The account is in {system}, where only administrators make pods and tokens.""",
    Mode.LISTING: """\
`kube-builder ls` over all namespaces, and builders by their name alone, for the account of namespace.yaml. RBAC cannot
say "builders only": whoever holds this sees the specs of all Deployments, StatefulSets, Jobs and pods of the cluster,
with the variables that stand in them, though no Secret. Leave it out where that is too much: `ls` then shows the
context's namespace, or the one of --namespace. Keys it gives none: of builders elsewhere no buildkitd is asked.""",
    Mode.LOOKING: """\
For the account of namespace.yaml: it sees the cluster's nodes, the addresses of services, and the status of
cluster-autoscaler. With it, plans are made for the architectures that there are, nodes with user namespaces are known,
and a pod that no node takes is given up after 2 s instead of 12.""",
}

_JOBS_OF_ONE = """\
A namespace for each job: the default of `kube-builder build`. Needs Kubernetes 1.30 or later.
The account that is named in the binding may make namespaces that are called and labelled as builders' and signed with
its name, and let itself into those: nothing else anywhere."""

_CONFINING = """\
For clusters whose nodes have user namespaces: in namespaces of builders, a privileged pod must run in one, so that
root in it is nobody on the node, and no pod gets the host's network, processes, ports or folders. Beside jobs.yaml;
the namespace of namespace.yaml is held to it when it is labelled app.kubernetes.io/managed-by=kube-builder and
kube-builder.dev/builder=shared. Needs Kubernetes 1.30 or later."""

_UNCONFINED = """\
The opt-out from user namespaces, beside jobs.yaml: jobs' accounts may run privileged pods that are root on their
nodes. For clusters whose nodes have no user namespaces, and for driver-opt qemu.install. Anyone with such an account
can become root on the nodes of its builders."""
_HOST_ACCESS = """\
The opt-out from the rules on the host, beside jobs.yaml: pod templates of jobs' accounts may have hostNetwork,
hostPID, hostIPC, hostPath and hostPort. With hostPath an account reads every file of a node, also its keys."""


def sheet(mode: Mode, *, namespace: str = EXAMPLE_NAMESPACE, user: str = "") -> str:
    """What to apply for ``mode``, as YAML with comments. ``namespace`` is where the builders of mode namespace are.

    ``user`` is who is to have the rights, if that is not the account that the sheet makes; a reaper is always its own.
    """
    own = mode is Mode.JOBS and _is_stranger(user)
    head = _JOBS_OF_ONE if own else _HEADS[mode].format(namespace=namespace, accounts=ACCOUNTS, system=SYSTEM)
    documents = [_commented(each) for each in manifests(mode, namespace=namespace, user=user)]
    return "".join(f"# {line}\n" for line in head.splitlines()) + "---\n" + "---\n".join(documents)


def manifests(mode: Mode, *, namespace: str = EXAMPLE_NAMESPACE, user: str = "") -> list[Manifest]:
    """The same as objects, in an order in which each finds what it refers to."""
    made: dict[Mode, Callable[[], list[Manifest]]] = {
        Mode.NAMESPACE: lambda: _of_a_namespace(namespace, user),
        Mode.JOBS: lambda: _of_jobs(user),
        Mode.REAPER: _of_the_reaper,
        Mode.LISTING: lambda: _of_many(LISTING, rights.LISTING, namespace, user),
        Mode.LOOKING: lambda: _of_many(LOOKING, rights.LOOKING, namespace, user),
    }
    return made[mode]()


def confined_pods() -> str:
    """What keeps builders from being root on a node, as YAML: it gives no rights, and takes some from all modes."""
    documents = [_commented(each) for each in pod_policy.of_builders()]
    return "".join(f"# {line}\n" for line in _CONFINING.splitlines()) + "---\n" + "---\n".join(documents)


def account_mark(user: str) -> str:
    """A part of object names that no other ``user`` has: a DNS label of at most 41 characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", user.removeprefix(_ACCOUNT_PREFIX).lower()).strip("-")[:32].rstrip("-")
    return f"{slug or 'user'}-{hashlib.sha256(user.encode()).hexdigest()[:8]}"


def unconfined(namespace: str = "") -> str:
    """The YAML that allows privileged pods without user namespaces: to accounts of jobs, or in one ``namespace``."""
    return _opt_out(UNCONFINED, rights.UNCONFINE, _UNCONFINED, namespace)


def host_access(namespace: str = "") -> str:
    """The YAML that allows the host's network, ports and folders: to accounts of jobs, or in one ``namespace``."""
    return _opt_out(HOST_ACCESS, rights.USE_HOST, _HOST_ACCESS, namespace)


def _opt_out(name: str, verb: str, head: str, namespace: str) -> str:
    rule = {"apiGroups": [rights.GRANT_GROUP], "resources": [rights.GRANT_RESOURCE], "verbs": [verb]}
    role = {**_role(name, ()), "rules": [rule]}
    binding = _binding(name, map(_group_subject, fence.JOB_GROUPS))
    if namespace:
        binding = {
            **_binding(name, [_account_subject(ACCOUNT, namespace)], namespace),
            "roleRef": binding["roleRef"],
        }
    documents = [_yaml(each) for each in (role, binding)]
    return "".join(f"# {line}\n" for line in head.splitlines()) + "---\n" + "---\n".join(documents)


def _of_a_namespace(namespace: str, user: str) -> list[Manifest]:
    subject = _subject(user) if user else _account_subject(ACCOUNT, namespace)
    suffix = f"-{account_mark(user)}" if user else ""
    holder = user or f"{_ACCOUNT_PREFIX}{namespace}:{ACCOUNT}"
    held = fence.is_user(holder)
    known = f"-{namespace}{suffix}"
    made = [
        *([] if user else [_account(ACCOUNT, namespace)]),
        _role(ACCOUNT, rights.BUILDING, namespace),
        _binding(ACCOUNT, [subject], namespace, suffix=suffix),
        _role(LASTING, rights.KEEPING, namespace),
        _binding(LASTING, [subject], namespace, suffix=suffix),
    ]
    policies = [
        *pod_policy.of_pods(f"{pod_policy.PODS}{known}", held),
        *pod_policy.of_objects(f"{pod_policy.OBJECTS}{known}", held),
    ]
    return [*policies, *made] if not user else [_marked(each, user) for each in (*policies, *made)]


def _of_jobs(user: str) -> list[Manifest]:
    name = "kube-builder-jobs"
    roles = [
        _role(INSIDE, (*rights.BUILDING, *rights.LEAVING)),
        _role(name, (*rights.ENTERING, *rights.LOOKING, *rights.SWEEPING)),
    ]
    if not _is_stranger(user):
        return [
            _namespace(ACCOUNTS),
            *([] if user else [_account(ACCOUNT, ACCOUNTS)]),
            *_job_policies(fence.is_job()),
            *roles,
            _binding(name, map(_group_subject, fence.JOB_GROUPS)),
        ]
    # Nothing for the namespace of accounts: it may be a stranger's, and this account is not in it.
    suffix = f"-{account_mark(user)}"
    policies = _job_policies(fence.is_user(user), suffix)
    binding = _binding(name, [_subject(user)], suffix=suffix)
    return [*(_marked(each, user) for each in policies), *roles, _marked(binding, user)]


def _is_stranger(user: str) -> bool:
    """Whether ``user`` is named and none of the accounts in the namespace of jobs' accounts."""
    return bool(user) and not user.startswith(f"{_ACCOUNT_PREFIX}{ACCOUNTS}:")


def _job_policies(a_job: str, suffix: str = "") -> list[Manifest]:
    return [
        *fence.of_jobs(a_job, suffix),
        *pod_policy.of_pods(f"{pod_policy.PODS}{suffix}", a_job),
        *pod_policy.of_objects(f"{pod_policy.OBJECTS}{suffix}", a_job),
    ]


def _marked(manifest: Manifest, user: str) -> Manifest:
    """With a label by which all that is one account's own is found; what accounts share has none."""
    metadata = manifest["metadata"]
    if account_mark(user) not in metadata["name"]:
        return manifest
    return {**manifest, "metadata": {**metadata, "labels": {ACCOUNT_LABEL: account_mark(user)}}}


def _of_the_reaper() -> list[Manifest]:
    return [
        _account(REAPER, SYSTEM),
        *fence.of_the_reaper(),
        _role(REAPER, rights.REAPING),
        _binding(REAPER, [_account_subject(REAPER, SYSTEM)]),
    ]


def _of_many(name: str, rules: tuple[Rule, ...], namespace: str, user: str) -> list[Manifest]:
    """What the account of a namespace may do in the whole cluster."""
    subject = _subject(user) if user else _account_subject(ACCOUNT, namespace)
    # Each namespace and user has a binding of its own: what is applied for one takes nothing from another.
    own = f"-{namespace}-{account_mark(user)}" if user else f"-{namespace}"
    binding = _binding(name, [subject], suffix=own)
    return [_role(name, rules), _marked(binding, user) if user else binding]


def _namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _account(name: str, namespace: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _role(name: str, rules: Sequence[Rule], namespace: str = "") -> Manifest:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": kind,
        "metadata": _metadata(name, namespace),
        "rules": [_rule(rule) for rule in rules],
    }


def _rule(rule: Rule) -> Manifest:
    named = {"resourceNames": list(rule.names)} if rule.names else {}
    return {"apiGroups": [rule.group], "resources": list(rule.resources), "verbs": list(rule.verbs), **named}


def _binding(role: str, subjects: Iterable[Manifest], namespace: str = "", suffix: str = "") -> Manifest:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(f"{role}{suffix}", namespace),
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": role},
        "subjects": list(subjects),
    }


def _commented(manifest: Manifest) -> str:
    """A manifest as YAML, each rule of a role under a line that says what it is for."""
    lines = _yaml(manifest).splitlines(keepends=True)
    reasons = iter([_REASONS[_key(rule)] for rule in manifest.get("rules", ())])
    return "".join(f"# {next(reasons)}\n{line}" if line.startswith("- apiGroups:") else line for line in lines)


def _yaml(manifest: Manifest) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Lists of words on one line; CEL expressions folded, so that they can be read."""

        def represent_str(self, text: str) -> yaml.ScalarNode:
            style = ">" if len(text) > _LONG else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    return yaml.dump(manifest, Dumper=Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def _key(rule: Manifest) -> tuple[str, ...]:
    return (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


_REASONS = {
    _key(_rule(rule)): rule.why
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


def _metadata(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def _account_subject(name: str, namespace: str) -> Manifest:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _subject(user: str) -> Manifest:
    """Whoever the API server calls ``user``: a service account's name says whose it is."""
    if user.startswith(_ACCOUNT_PREFIX):
        namespace, _, name = user.removeprefix(_ACCOUNT_PREFIX).partition(":")
        return _account_subject(name, namespace)
    return {"kind": "User", "name": user, "apiGroup": RBAC_GROUP}


def _group_subject(name: str) -> Manifest:
    return {"kind": "Group", "name": name, "apiGroup": RBAC_GROUP}
