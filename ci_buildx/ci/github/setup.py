"""The setup step: starts a builder for later steps of the job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.build.build_run import BuildRun, collect_secrets
from ci_buildx.build.builder_scope import RunRequest, open_run_scope
from ci_buildx.build.connect import NodeConnection, connect_nodes
from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.builder import identity
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.ci import inputs, logins
from ci_buildx.ci.github import commands, events, state, step
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.model.documents import parse_toml
from ci_buildx.model.plaintext import read_kubeconfig
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings import options
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.values import Settings

_ASKED = 10.0
"""Seconds for a buildkitd that has already answered to list its platforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """One node of the builder: the platforms that it builds for, and its ``buildkit`` version."""

    name: str
    platforms: tuple[Platform, ...]
    buildkit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBuilder:
    """A running builder."""

    name: str
    namespace: str
    flags: tuple[str, ...]
    nodes: tuple[RunningNode, ...]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that the builder builds for, without duplicates."""
        return tuple(dict.fromkeys(platform for node in self.nodes for platform in node.platforms))


def run_setup_builder(
    settings: Settings,
    *,
    env: Mapping[str, str],
    display_stream: TextIO,
    identity: JobIdentity,
    announce: Callable[[BuilderLocation], None],
) -> RunningBuilder:
    """Create the builder and wait until every node answers; if one does not, the builder is removed.

    ``announce`` is called with the builder's location before any of its objects exists. Raises the KubeBuilderError
    tree and Interrupted.
    """
    request = RunRequest(
        settings=replace(settings, keep=True),
        builds=(),
        env=env,
        display_stream=display_stream,
        hidden=collect_secrets(settings.build, env),
        identity=identity,
        announce=announce,
    )
    with open_run_scope(request) as scope, scope.open_builder() as run, run.cancel_on_failure():
        return run.interrupts.run(lambda: _wait_for_nodes(run.site, run.builder), settle=0)


def _wait_for_nodes(site: BuildRun, builder: Builder) -> RunningBuilder:
    with connect_nodes(site, builder) as (_, connections):
        if not connections:
            raise KubeBuilderError(f"builder {builder.name} has no node")
        return RunningBuilder(
            name=builder.name,
            namespace=builder.namespace,
            flags=site.settings.builder.buildkitd_flags,
            nodes=tuple(_read_running_node(one) for one in connections),
        )


def _read_running_node(connection: NodeConnection) -> RunningNode:
    workers = connection.control.list_workers(_ASKED)
    native = tuple(platform for worker in workers for platform in worker.platforms)
    return RunningNode(
        name=connection.node.name,
        platforms=tuple(connection.node.platforms) or tuple(dict.fromkeys(native)),
        buildkit=next((worker.version for worker in workers), ""),
    )


ALONE, KEPT = "alone", "kept"
"""Names of saved state: ``alone`` if the step only sets up a builder, ``kept`` if the post step must not remove it."""
FLAGS = ("--allow-insecure-entitlement=security.insecure", "--allow-insecure-entitlement=network.host")
KNOWN = {option.name: option for option in inputs.OF_SETUP}


def run_setup(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Start a builder and wait until it is ready. Returns 0. Raises the KubeBuilderError tree and Interrupted."""

    given = github_inputs.add_variables(github_inputs.read_inputs(env, cwd, known=KNOWN), KNOWN)
    _check_inputs(given)
    commands.append_value(env, commands.STATE, ALONE, "true")
    event = events.read_event(env)
    env = {**env, TRUST_SCOPE: events.choose_scope(event, given.read_text("trust-scope"))}
    given = _keep_kubeconfig(given, env)
    values = {**given.select_build_options(), "context": str(cwd), "file": "-"}
    settings = inputs.read_job_settings(values, given.sources, env, cwd, surface=OptionSurface.GITHUB)
    settings = _add_entitlements(settings)
    begun = time.monotonic()
    kept = run_setup_builder(
        settings,
        env=env,
        display_stream=step.choose_log(settings, stdout),
        identity=identity.make_identity(step.read_origin(event, cwd, env), suffix=identity.make_random_suffix()),
        announce=lambda location: state.save_state(env, location),
    )
    if not given.switch("cleanup"):
        commands.append_value(env, commands.STATE, KEPT, "true")
    stdout.write(f"builder   {kept.name}\ntime      {time.monotonic() - begun:.1f} s\n")
    outputs, variables = make_setup_outputs(kept), make_setup_variables(kept, given)
    if given.switch("expose"):
        from ci_buildx.ci.github import expose

        sockets = expose.start_server(
            kept.name, kept.namespace, kept.platforms, given, env, lifetime=settings.builder.lifetime
        )
        outputs |= expose.make_outputs(sockets)
        variables |= expose.make_variables(sockets)
        stdout.writelines(f"socket    {path}\n" for path in sockets)
    commands.append_values(env, commands.OUTPUT, outputs)
    if given.switch("use"):
        commands.append_values(env, commands.ENVIRONMENT, variables)
    return 0


def make_setup_outputs(kept: RunningBuilder) -> dict[str, str]:
    """Return the outputs, by docker/setup-buildx-action's names."""
    return {
        "name": kept.name,
        "driver": "kubernetes",
        "platforms": ",".join(map(str, kept.platforms)),
        "nodes": json.dumps([_describe_node(kept, node) for node in kept.nodes]),
        "endpoint": f"kubernetes:///{kept.name}",
        "status": "running",
        "flags": " ".join(kept.flags),
    }


def _describe_node(kept: RunningBuilder, node: RunningNode) -> dict[str, str]:
    """Describe a node as docker/setup-buildx-action does."""
    return {
        "name": node.name,
        "endpoint": f"kubernetes:///{kept.name}?node={node.name}",
        "status": "running",
        "buildkitd-flags": " ".join(kept.flags),
        "buildkit": node.buildkit,
        "platforms": ",".join(map(str, node.platforms)),
    }


def make_setup_variables(kept: RunningBuilder, given: RawValues) -> dict[str, str]:
    """Return the variables through which the Action and ``kube-builder build`` find the builder in later steps."""
    names = ("kubeconfig", "kube-context", "oidc", "transport")
    shared = {options.BY_NAME[name].variable: given.read_text(name) for name in names if given.read_text(name)}
    if kept.namespace != kept.name:
        shared[options.BY_NAME["namespace"].variable] = kept.namespace
    return {options.BY_NAME["builder"].variable: kept.name, **shared}


def _add_entitlements(settings: Settings) -> Settings:
    """Add docker/setup-buildx-action 4.1's default flags, which permit network.host and security.insecure.

    Builds still need ``allow``, and cannot do more than the builder's pod may.
    """
    builder = settings.builder
    if builder.buildkitd_flags or "insecure-entitlements" in parse_toml(builder.buildkitd_config):
        return settings
    return replace(settings, builder=replace(builder, buildkitd_flags=FLAGS))


def _check_inputs(given: RawValues) -> None:
    driver = given.read_text("driver")
    if driver and driver not in inputs.DRIVER.choices:
        fix = "omit it: the builder runs on Kubernetes"
        raise InputError(f"unknown driver {driver!r}", source=given.find_source("driver"), fix=fix)


def _keep_kubeconfig(given: RawValues, env: Mapping[str, str]) -> RawValues:
    """Write the kubeconfig to a file for later steps; the post step removes it. Returns the inputs with its path."""
    content = read_kubeconfig(given.read_text("kubeconfig"))
    if content is None:
        return given
    path = logins.choose_kubeconfig_path(env.get("RUNNER_TEMP"))
    commands.append_value(env, commands.STATE, state.KUBECONFIG, str(path))
    logins.write_private_file(content, path)
    return given.replace_values(kubeconfig=str(path))
