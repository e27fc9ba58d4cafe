"""State of the Action's steps: of the running step, and saved for its post step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ci_buildx.build.result import BuildResult
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.ci.github import commands
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.values import Settings

if TYPE_CHECKING:
    from ci_buildx.progress.summary import BuildReport

BUILDER, NAMESPACE, LOGINS, KUBECONFIG = "builder", "namespace", "logins", "kubeconfig"
"""Names of saved state. ``action/post.js`` checks for any of them before it starts Python."""
BAKES, SOCKETS = "bakes", "sockets"
"""Names of saved state: set if the step bakes, whose inputs are others; the folder of the input ``expose``."""


@dataclass(slots=True, kw_only=True)
class ActionStep:
    """State of the running step. ``hidden`` are the texts to mask.

    A step that bakes has ``targets``, the results by target, and their ``definition``, and no ``result``.
    """

    env: Mapping[str, str]
    cwd: Path
    stdout: TextIO
    event: WorkflowEvent
    begun: float
    settings: Settings | None = None
    given: RawValues | None = None
    name: str = ""
    hidden: list[str] = field(default_factory=list)
    report: BuildReport | None = None
    result: BuildResult | None = None
    targets: Mapping[str, BuildResult] = field(default_factory=dict)
    definition: Mapping[str, Any] = field(default_factory=dict)


def save_state(env: Mapping[str, str], location: BuilderLocation) -> None:
    """Save the builder's location for the post step: the runner may kill the main step at any moment."""
    commands.append_value(env, commands.STATE, BUILDER, location.name)
    if not location.exclusive:
        commands.append_value(env, commands.STATE, NAMESPACE, location.namespace)
