"""The setup step: starts a builder for later steps of the job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.build.keep import RunningBuilder, RunningNode
from ci_buildx.builder import identity
from ci_buildx.ci import inputs, kubeconfig
from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github import commands, events, step
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.errors import InputError
from ci_buildx.model.pasted import read_kubeconfig
from ci_buildx.model.record import replace
from ci_buildx.settings import options
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.values import ProgressMode, Settings

ALONE, KEPT = "alone", "kept"
"""Names of saved state: ``alone`` if the step only sets up a builder, ``kept`` if the post step must not remove it."""
FLAGS = ("--allow-insecure-entitlement=security.insecure", "--allow-insecure-entitlement=network.host")
KNOWN = {option.name: option for option in offered.OF_SETUP}


def run_setup(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Start a builder and wait until it is ready. Returns 0. Raises the KubeBuilderError tree and Interrupted."""
    from ci_buildx.build import keep

    given = github_inputs.add_variables(github_inputs.read_inputs(env, cwd, known=KNOWN), KNOWN)
    _check_inputs(given)
    commands.append_value(env, commands.STATE, ALONE, "true")
    event = events.read_event(env)
    env = {**env, TRUST_SCOPE: events.choose_scope(event, given.read_text("trust-scope"))}
    given = _keep_kubeconfig(given, env)
    values = {**given.select_build_options(), "context": str(cwd), "file": "-"}
    settings = _add_entitlements(inputs.read_job_settings(values, given.sources, env, cwd, auto=ProgressMode.GITHUB))
    begun = time.monotonic()
    kept = keep.run_setup_builder(
        settings,
        env=env,
        display_stream=step.choose_log(settings, stdout),
        identity=identity.make_identity(step.read_origin(event, cwd, env), suffix=identity.make_random_suffix()),
        announce=lambda location: step.save_state(env, location),
    )
    if given.read_text("cleanup") and not given.switch("cleanup"):
        commands.append_value(env, commands.STATE, KEPT, "true")
    stdout.write(f"builder   {kept.name}\ntime      {time.monotonic() - begun:.1f} s\n")
    commands.append_values(env, commands.OUTPUT, make_setup_outputs(kept))
    if not given.read_text("use") or given.switch("use"):
        commands.append_values(env, commands.ENVIRONMENT, make_setup_variables(kept, given))
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
    import tomllib

    if builder.buildkitd_flags or "insecure-entitlements" in tomllib.loads(builder.buildkitd_config):
        return settings
    return replace(settings, builder=replace(builder, buildkitd_flags=FLAGS))


def _check_inputs(given: RawValues) -> None:
    driver = given.read_text("driver")
    if driver and driver not in offered.DRIVER.choices:
        fix = "leave it out: the builder runs on Kubernetes"
        raise InputError(f"there is no driver {driver!r}", source=given.find_source("driver"), fix=fix)


def _keep_kubeconfig(given: RawValues, env: Mapping[str, str]) -> RawValues:
    """Write the kubeconfig to a file for later steps; the post step removes it. Returns the inputs with its path."""
    content = read_kubeconfig(given.read_text("kubeconfig"))
    if content is None:
        return given
    path = kubeconfig.choose_path(env.get("RUNNER_TEMP"))
    commands.append_value(env, commands.STATE, step.KUBECONFIG, str(path))
    kubeconfig.write_private_file(content, path)
    return given.with_changes(kubeconfig=str(path))
