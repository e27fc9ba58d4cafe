"""The YAML by which a cluster's administrator gives each mode its rights: what docs/rbac holds and `doctor` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ci_buildx.builder import fence, rights
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.rights import INSIDE, RBAC_GROUP, REAPER, Mode, Rule

ACCOUNT = "kube-builder"
ACCOUNTS = "kube-builder"
"""The namespace of the jobs' accounts."""
LASTING = "kube-builder-lasting"
LISTING = "kube-builder-listing"
LOOKING = "kube-builder-looking"
SYSTEM = "kube-builder-system"
EXAMPLE_NAMESPACE = "ci-builds"

_ACCOUNT_PREFIX = "system:serviceaccount:"
"""How the name of every service account begins (kubernetes 1.34, ``pkg/serviceaccount``)."""
_LONG = 70
"""Characters of a text that is folded over several lines."""

_HEADS = {
    Mode.NAMESPACE: """\
Builders in one namespace that is there already: `kube-builder build --namespace {namespace}`.
Needs no right outside it. Replace {namespace} by yours; whoever holds this can read its Secrets and use its service
accounts, so let it hold nothing else. It must admit privileged pods (or rootless ones, with driver-opt rootless).
The second Role is for lasting builders, made by `kube-builder create`: leave it out where jobs only build.""",
    Mode.JOBS: """\
A namespace for each job: the default of `kube-builder build`. Needs Kubernetes 1.30 or later.
Each account in the namespace {accounts}, and each user in the group kube-builder:jobs, may make namespaces that are
called and labelled as builders' and signed with its name, and let itself into those: nothing else anywhere.
An account for each team keeps teams out of each other's builders.""",
    Mode.REAPER: """\
What `kube-builder reap` may do where each job has a namespace: delete builders' namespaces, and no others.
Needs Kubernetes 1.30 or later.""",
    Mode.LISTING: """\
`kube-builder ls` over all namespaces, and builders by their name alone, for the account of namespace.yaml. RBAC cannot
say "builders only": whoever holds this sees the specs of all Deployments, StatefulSets, Jobs and pods of the cluster,
with the variables that stand in them, though no Secret. Leave it out where that is too much: `ls` then shows the
context's namespace, or the one of --namespace. Keys it gives none: of builders elsewhere no buildkitd is asked.""",
    Mode.LOOKING: """\
For the account of namespace.yaml: it sees the cluster's nodes, the addresses of services, and the status of
cluster-autoscaler. With it, builders have user namespaces by default where the nodes can, plans are made for the
architectures that there are, and a pod that no node takes is given up after 2 s instead of 12.""",
}

_CONFINING = """\
For clusters whose nodes have user namespaces: in namespaces of builders, a privileged pod must run in one, so that
root in it is nobody on the node, and no pod gets the host's network, processes or folders. Beside jobs.yaml; the
namespace of namespace.yaml is held to it when it is labelled app.kubernetes.io/managed-by=kube-builder and
kube-builder.dev/builder=shared. Needs Kubernetes 1.30 or later."""


def sheet(mode: Mode, *, namespace: str = EXAMPLE_NAMESPACE, user: str = "") -> str:
    """What to apply for ``mode``, as YAML with comments. ``namespace`` is where the builders of mode namespace are.

    ``user`` is who is to have the rights, if that is not the account that the sheet makes; a reaper is always its own.
    """
    head = _HEADS[mode].format(namespace=namespace, accounts=ACCOUNTS)
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
    documents = [_commented(each) for each in fence.of_pods()]
    return "".join(f"# {line}\n" for line in _CONFINING.splitlines()) + "---\n" + "---\n".join(documents)


def _of_a_namespace(namespace: str, user: str) -> list[Manifest]:
    subject = _subject(user) if user else _account_subject(ACCOUNT, namespace)
    return [
        *([] if user else [_account(ACCOUNT, namespace)]),
        _role(ACCOUNT, rights.BUILDING, namespace),
        _binding(ACCOUNT, [subject], namespace),
        _role(LASTING, rights.KEEPING, namespace),
        _binding(LASTING, [subject], namespace),
    ]


def _of_jobs(user: str) -> list[Manifest]:
    name = "kube-builder-jobs"
    groups = [_group_subject(group) for group in fence.JOB_GROUPS]
    stranger = user if user and not user.startswith(f"{_ACCOUNT_PREFIX}{ACCOUNTS}:") else ""
    return [
        _namespace(ACCOUNTS),
        *([] if user else [_account(ACCOUNT, ACCOUNTS)]),
        *fence.of_jobs(stranger),
        _role(INSIDE, (*rights.BUILDING, *rights.LEAVING)),
        _role(name, (*rights.ENTERING, *rights.LOOKING, *rights.SWEEPING)),
        _binding(name, [*groups, *([_subject(stranger)] if stranger else [])]),
    ]


def _of_the_reaper() -> list[Manifest]:
    return [
        _namespace(SYSTEM),
        _account(REAPER, SYSTEM),
        *fence.of_the_reaper(),
        _role(REAPER, rights.REAPING),
        _binding(REAPER, [_account_subject(REAPER, SYSTEM)]),
    ]


def _of_many(name: str, rules: tuple[Rule, ...], namespace: str, user: str) -> list[Manifest]:
    """What the account of a namespace may do in the whole cluster."""
    subject = _subject(user) if user else _account_subject(ACCOUNT, namespace)
    binding = _binding(name, [subject])
    # Each namespace has a binding of its own: what is applied for one takes nothing from another.
    return [_role(name, rules), {**binding, "metadata": {"name": f"{name}-{namespace}"}}]


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


def _binding(role: str, subjects: Iterable[Manifest], namespace: str = "") -> Manifest:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(role, namespace),
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
