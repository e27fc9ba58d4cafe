"""Which folders of several builds are sent by one session."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.build.shared_folders import FolderKey, FolderSession, group_folders, list_folders
from ci_buildx.settings.values import BuildSettings, ContextMtime


def key(name: str, path: str, context: str = "c") -> FolderKey:
    return FolderKey(name, Path(path), context)


def test_folders_of_one_build_are_its_own() -> None:
    builds = [
        [key("context", "/a"), key("dockerfile", "/a")],
        [key("context", "/b", "d"), key("dockerfile", "/b", "d")],
    ]
    assert group_folders(builds) == []


def test_a_session_has_one_folder_of_each_name() -> None:
    one, other = key("context", "/a"), key("dockerfile", "/a")
    elsewhere = key("dockerfile", "/b")
    found = group_folders(
        [[one, other], [one, other], [one, elsewhere], [one, elsewhere], [one, key("dockerfile", "/c")]]
    )
    assert found == [
        FolderSession(context="c", folders={"context": Path("/a"), "dockerfile": Path("/a")}),
        FolderSession(context="c", folders={"dockerfile": Path("/b")}),
    ]


def test_contexts_have_sessions_of_their_own() -> None:
    """buildkitd keeps the last files of a context under the key of its session."""
    one, other = key("context", "/a", "a:1"), key("context", "/b", "b:2")
    assert [group.context for group in group_folders([[one], [one], [other], [other]])] == ["a:1", "b:2"]


def test_times_that_the_client_sets_are_not_shared() -> None:
    build = BuildSettings(context=Path("/a"), dockerfile=Path("/a/Dockerfile"))
    assert [one.name for one in list_folders(build, {})] == ["context", "dockerfile"]
    changed = BuildSettings(context=Path("/a"), dockerfile=Path("/a/Dockerfile"), context_mtime=ContextMtime.EPOCH)
    assert list_folders(changed, {}) == []
