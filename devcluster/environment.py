"""Environment variables of a cluster for a user's shell."""

import shlex

from devcluster import registry
from devcluster.layout import Cluster


def variables(cluster: Cluster) -> dict[str, str]:
    """Return KUBECONFIG and the registries' addresses, users and certificates."""
    found = {"KUBECONFIG": str(cluster.kubeconfig)}
    for server in registry.registries(cluster):
        name = "REGISTRY" if server.name == "open" else f"REGISTRY_{server.name.upper()}"
        found[name] = server.address
        if server.ca_file:
            found[f"{name}_CA"] = str(server.ca_file)
        if server.username:
            found |= {f"{name}_USER": server.username, f"{name}_PASSWORD": server.password.reveal_text()}
    return found


def exports(cluster: Cluster) -> str:
    """Format the variables as lines for a shell to evaluate."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables(cluster).items())
