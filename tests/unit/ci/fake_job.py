"""The job layer's two verbs, recorded: what the CI entry points ask for, without a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from ci_buildx.build.result import BuildResult
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.model import platform
from ci_buildx.progress.summary import BuildReport
from ci_buildx.settings.values import ClusterSettings, Settings

RESULT = BuildResult(
    digest="sha256:" + "a" * 64,
    image_id="sha256:" + "b" * 64,
    references=("registry.example/team/app:1",),
    platforms=(platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64")),
    phases={"boot": 1.24, "build": 2.0},
    metadata={"containerimage.digest": "sha256:" + "a" * 64, "text": "two\nlines"},
)


@dataclass
class FakeJob:
    """Stands for the modules ``build.run`` and ``manage.reap``. ``events`` holds what happened, in order."""

    namespace: str = ""
    found: bool = True
    failure: BaseException | None = None
    report: BuildReport | None = None
    events: list[str] = field(default_factory=list)
    settings: Settings | None = None
    identity: JobIdentity | None = None
    removed: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    on_create: Callable[[], None] = lambda: None
    on_remove: Callable[[], None] = lambda: None
    log: str = "#1 the build's log\n"
    result: BuildResult = RESULT

    def run(
        self,
        settings: Settings,
        *,
        env: Mapping[str, str],
        display_stream: TextIO,
        identity: JobIdentity,
        announce: Callable[[BuilderLocation], None] = lambda _: None,
        hear: Callable[[BuildReport], None] | None = None,
        deliver: Callable[[BuildResult], None] = lambda _: None,
        hidden: Iterable[str] = (),
    ) -> BuildResult:
        self.settings, self.identity, self.env = settings, identity, dict(env)
        self.hidden = tuple(hidden)
        name = identity.name
        announce(BuilderLocation(name=name, namespace=self.namespace or name, exclusive=not self.namespace))
        self.on_create()
        display_stream.write(self.log)
        if self.failure is None:
            deliver(self.result)
        self.on_remove()
        if hear is not None and self.report is not None:
            hear(self.report)
        if self.failure is not None:
            raise self.failure
        return self.result

    def remove(self, cluster: ClusterSettings, name: str, **options: Any) -> bool:
        self.removed = {"cluster": cluster, "name": name, **options}
        return self.found
