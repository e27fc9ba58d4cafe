"""A build from its settings to its result, on a cluster in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_buildx.build.result import BuildResult
from ci_buildx.build.run import run_build
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import JobIdentity, JobOrigin, make_identity
from ci_buildx.model import platform
from ci_buildx.progress.summary import BuildReport
from ci_buildx.settings.values import BuildSettings, ProgressMode, Settings
from tests.unit.memory_cluster import MemoryCluster

IDENTITY = make_identity(JobOrigin(system="local", repository="team/app"), suffix="abcdefgh")
NAME = IDENTITY.name
NODES = (platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64"))


@dataclass
class WholeBuild:
    """A build of the Dockerfile ``text``, with ``options`` as in BuildSettings; what it reports is collected."""

    cluster: MemoryCluster
    folder: Path
    text: str = "FROM scratch\n"
    options: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    shown: io.StringIO = field(default_factory=io.StringIO)
    announced: list[BuilderLocation] = field(default_factory=list)
    reports: list[BuildReport] = field(default_factory=list)

    @property
    def output(self) -> str:
        """What the user has seen so far."""
        return self.shown.getvalue()

    def run(self, *, deliver: Callable[[BuildResult], None] = lambda _: None, **chosen: Any) -> BuildResult:
        """Run the build; ``chosen`` are fields of Settings."""
        dockerfile = self.folder / "Dockerfile"
        dockerfile.write_text(self.text)
        basic: dict[str, Any] = {"context": self.folder, "dockerfile": dockerfile, "progress": ProgressMode.PLAIN}
        settings = Settings(build=BuildSettings(**basic | self.options), cluster=self.cluster.settings, **chosen)
        identity: JobIdentity | None = None if settings.builder_name else IDENTITY
        return run_build(
            settings,
            env=self.env,
            display_stream=self.shown,
            identity=identity,
            announce=self.announced.append,
            hear=self.reports.append,
            deliver=deliver,
            hidden=self.hidden,
        )

    def list_changes(self) -> list[str]:
        """What was created and deleted, in order: the verb and the last part of the path."""
        changes = (line.split(" ") for line in self.cluster.asked if line.startswith(("POST", "DELETE")))
        return [f"{method} {path.rsplit('/', 1)[1].replace(NAME, 'NAME')}" for method, path in changes]
