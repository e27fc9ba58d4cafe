"""Options of verbs that read and write registries without a build, and the client that they configure."""

from __future__ import annotations

from ci_buildx.cli import target
from ci_buildx.cli.build import add_current_builder, merge_variables
from ci_buildx.cli.parser import ParsedArguments
from ci_buildx.cli.process import ProcessContext
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.model.record import replace
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.credentials import load_credentials
from ci_buildx.registry.trust import RegistryTrust
from ci_buildx.settings import assembly, options
from ci_buildx.settings.names import check_builder

OPTIONS = (
    replace(
        options.BY_NAME["builder"],
        help="builder whose buildkitd.toml declares how registries are reached",
        otherwise="the one selected by kube-builder use",
    ),
    replace(
        options.BY_NAME["buildkitd-config"],
        help="buildkitd.toml that declares how registries are reached: http, insecure, ca and keypair",
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)
_NAMES = tuple(option.name for option in OPTIONS)


def open_client(answers: ParsedArguments, around: ProcessContext) -> RegistryClient:
    """Return a client with the logins of docker's configuration, which reaches registries as a builder would.

    Raises InputError, and KubeError if a builder's configuration cannot be read.
    """
    return RegistryClient(load_credentials(around.env), trust=read_trust(answers, around))


def read_trust(answers: ParsedArguments, around: ProcessContext) -> RegistryTrust:
    """Return how registries are reached: as ``--buildkitd-config`` or a builder's own configuration declares it."""
    values, sources = merge_variables(answers.select_given(*_NAMES), around.env)
    values, sources = add_current_builder(values, sources, around)
    name = values.get("builder")
    if not name:
        from ci_buildx.builder.manifests.buildkitd import make_registry_trust

        return make_registry_trust(assembly.make_builder_settings(values, sources, around.env, around.cwd))
    from ci_buildx.manage.builders import read_registry_trust

    cluster = assembly.make_cluster_settings(values, sources, around.env, around.cwd)
    wanted = BuilderTarget(
        cluster=cluster,
        namespace=str(values.get("namespace") or ""),
        name=check_builder(str(name), source=sources["builder"]),
    )
    return read_registry_trust(wanted, env=around.env)
