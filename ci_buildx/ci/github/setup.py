"""The step that only sets a builder up, for later steps of the job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.builder import identity
from ci_buildx.ci import inputs as offered
from ci_buildx.ci import job_settings, kubeconfig
from ci_buildx.ci.github import events, files, inputs, step, trust
from ci_buildx.errors import InputError
from ci_buildx.job.keep import Kept, KeptNode
from ci_buildx.job.origin import TRUST_SCOPE
from ci_buildx.model.pasted import read_kubeconfig
from ci_buildx.model.record import replace
from ci_buildx.settings import options
from ci_buildx.settings.given import Given
from ci_buildx.settings.values import Progress, Settings

ALONE, KEPT = "alone", "kept"
"""Names of the saved state: that only a builder was set up, and that it is to stay."""
FLAGS = ("--allow-insecure-entitlement=security.insecure", "--allow-insecure-entitlement=network.host")
KNOWN = {option.name: option for option in offered.OF_SETUP}


def set_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Make a builder and wait until it answers: 0. Raises the KubeBuilderError tree and Interrupted."""
    from ci_buildx.job import keep

    given = inputs.with_variables(inputs.read(env, cwd, known=KNOWN), KNOWN)
    _check(given)
    files.append(env, files.STATE, ALONE, "true")
    event = events.read(env)
    env = {**env, TRUST_SCOPE: trust.scope_of(event, given.text("trust-scope"))}
    given = _with_kubeconfig(given, env)
    values = {**given.of_build(), "context": str(cwd), "file": "-"}
    settings = _entitled(job_settings.read(values, given.sources, env, cwd, auto=Progress.GITHUB))
    begun = time.monotonic()
    kept = keep.run(
        settings,
        env=env,
        display_stream=step.log_of(settings, stdout),
        identity=identity.make(step.origin(event, cwd, env), suffix=identity.random_suffix()),
        announce=lambda location: step.save(env, location),
    )
    if given.text("cleanup") and not given.switch("cleanup"):
        files.append(env, files.STATE, KEPT, "true")
    stdout.write(f"builder   {kept.name}\ntime      {time.monotonic() - begun:.1f} s\n")
    files.append_all(env, files.OUTPUT, outputs(kept))
    if not given.text("use") or given.switch("use"):
        files.append_all(env, files.ENVIRONMENT, variables(kept, given))
    return 0


def outputs(kept: Kept) -> dict[str, str]:
    """The outputs, named as docker/setup-buildx-action names them."""
    return {
        "name": kept.name,
        "driver": "kubernetes",
        "platforms": ",".join(map(str, kept.platforms)),
        "nodes": json.dumps([_node(kept, node) for node in kept.nodes]),
        "endpoint": f"kubernetes:///{kept.name}",
        "status": "running",
        "flags": " ".join(kept.flags),
    }


def _node(kept: Kept, node: KeptNode) -> dict[str, str]:
    """A node as docker/setup-buildx-action shows it."""
    return {
        "name": node.name,
        "endpoint": f"kubernetes:///{kept.name}?node={node.name}",
        "status": "running",
        "buildkitd-flags": " ".join(kept.flags),
        "buildkit": node.buildkit,
        "platforms": ",".join(map(str, node.platforms)),
    }


def variables(kept: Kept, given: Given) -> dict[str, str]:
    """What later steps find the builder by: the Action, and ``kube-builder build`` in a script."""
    names = ("kubeconfig", "kube-context", "oidc", "transport")
    shared = {options.BY_NAME[name].variable: given.text(name) for name in names if given.text(name)}
    if kept.namespace != kept.name:
        shared[options.BY_NAME["namespace"].variable] = kept.namespace
    return {options.BY_NAME["builder"].variable: kept.name, **shared}


def _entitled(settings: Settings) -> Settings:
    """With docker/setup-buildx-action 4.1's default flags: later steps may ask for network.host and security.insecure.

    Steps of a build still need ``allow``, and cannot do more than the builder's pod may.
    """
    builder = settings.builder
    import tomllib

    if builder.buildkitd_flags or "insecure-entitlements" in tomllib.loads(builder.buildkitd_config):
        return settings
    return replace(settings, builder=replace(builder, buildkitd_flags=FLAGS))


def _check(given: Given) -> None:
    driver = given.text("driver")
    if driver and driver not in offered.DRIVER.choices:
        fix = "leave it out: the builder runs on Kubernetes"
        raise InputError(f"there is no driver {driver!r}", source=given.source("driver"), fix=fix)


def _with_kubeconfig(given: Given, env: Mapping[str, str]) -> Given:
    """The inputs with the kubeconfig as a file that later steps and the post step find, which removes it."""
    content = read_kubeconfig(given.text("kubeconfig"))
    if content is None:
        return given
    path = kubeconfig.place(env.get("RUNNER_TEMP"))
    files.append(env, files.STATE, step.KUBECONFIG, str(path))
    kubeconfig.write(content, path)
    return given.having(kubeconfig=str(path))
