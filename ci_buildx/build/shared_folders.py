"""Folders that several builds on one node send: each is sent once, by a session of its own.

buildkitd asks the session that a request names for a folder (BuildKit 0.34.2, ``frontend/dockerui/config.go``,
``local-sessionid:``), so that equal folders of several builds are one step for it, which runs once. If that session
is lost, it asks the build's own (``source/local/source.go``). docker buildx 0.38.2 does the same (``build/build.go``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from ci_buildx.build.connect import NodeConnection
from ci_buildx.build.context import origin
from ci_buildx.buildkit.solve_request import list_shared_folders
from ci_buildx.model.record import dataclass
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.progress.step import format_amount
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import BuildSession
from ci_buildx.settings.values import BuildSettings, ContextMtime

ATTRIBUTE = "local-sessionid:"
"""Prefix of the frontend attribute that names a folder's session."""


class FolderKey(NamedTuple):
    """A folder as builds send it: its name in requests, its path, and the key of the context that it comes with."""

    name: str
    path: Path
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSession:
    """A session that serves the folders of one context, by name."""

    context: str
    folders: Mapping[str, Path]


def list_folders(build: BuildSettings, env: Mapping[str, str]) -> list[FolderKey]:
    """Return the folders that a build could share: those that are sent with their own modification times."""
    if build.context_mtime is not ContextMtime.KEEP:
        return []
    context = origin.make_context_shared_key(build.context, env)
    return [FolderKey(name, path, context) for name, path in list_shared_folders(build).items()]


def group_folders(builds: Iterable[Iterable[FolderKey]]) -> list[FolderSession]:
    """Return sessions for the folders of two builds or more. A session has one folder of each name."""
    counts: dict[FolderKey, int] = {}
    for folders in builds:
        for one in folders:
            counts[one] = counts.get(one, 0) + 1
    found: list[tuple[str, dict[str, Path]]] = []
    for one in (key for key, count in counts.items() if count > 1):
        place = next(
            (folders for context, folders in found if context == one.context and one.name not in folders), None
        )
        if place is None:
            found.append((one.context, place := {}))
        place[one.name] = one.path
    return [FolderSession(context=context, folders=folders) for context, folders in found]


class SharedFolders:
    """The sessions in one pod. ``users`` has the targets that were sent to a folder's session."""

    def __init__(self, sessions: Mapping[FolderKey, BuildSession]) -> None:
        self._sessions = sessions
        self.users: dict[FolderKey, set[str]] = {one: set() for one in sessions}

    def make_attributes(self, target: str, build: BuildSettings, env: Mapping[str, str]) -> dict[str, str]:
        """Return the frontend attributes that name the sessions of a target's folders."""
        known = [one for one in list_folders(build, env) if one in self._sessions]
        for one in known:
            self.users[one].add(target)
        return {f"{ATTRIBUTE}{one.name}": self._sessions[one].id for one in known}


@contextmanager
def open_shared_folders(
    connection: NodeConnection,
    builds: Iterable[BuildSettings],
    env: Mapping[str, str],
    display: BuildDisplay,
    *,
    several: bool = False,
) -> Iterator[SharedFolders]:
    """Open the sessions for the folders that builds share in a pod; close them and show what was sent.

    ``builds`` are those that may come to the pod, one of ``several`` of its node.
    """
    keys = [list_folders(build, env) for build in builds]
    served: dict[FolderKey, FileSyncService] = {}
    sessions: dict[FolderKey, BuildSession] = {}
    with ExitStack() as undo:
        for group in group_folders(keys):
            service = FileSyncService(group.folders, builds=len(keys))
            session = BuildSession([service], shared_key=group.context)
            undo.enter_context(connection.control.serve_session(session))
            for name, path in group.folders.items():
                served[FolderKey(name, path, group.context)] = service
                sessions[FolderKey(name, path, group.context)] = session
        shared = SharedFolders(sessions)
        yield shared
    for key, service in served.items():
        if sent := service.sent.get(key.name, 0):
            count = len(shared.users[key])
            targets = f"{count} targets" if count > 1 else "1 target"
            where = f" in pod {connection.pod}" if several else ""
            display.note("shared folders", f"{key.path} ({key.name}): {format_amount(sent)} for {targets}{where}")
