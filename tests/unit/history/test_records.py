"""Names, states and order of builds, and which one REF means."""

import pytest

from ci_buildx.buildkit.history import HistoryEvent, HistoryListing, RecordState
from ci_buildx.buildkit.messages import RpcStatus
from ci_buildx.errors import InputError
from ci_buildx.history import records
from ci_buildx.history.records import RecordChoice
from tests.unit.history.records import BEGIN, make_record, place


@pytest.mark.parametrize(
    ("attrs", "name"),
    [
        # buildx 0.38.2, util/history/buildname_test.go, where no state of a local build is involved
        ({}, ""),
        ({"build-arg:BUILDKIT_BUILD_NAME": "foobar", "context": "x"}, "foobar"),
        ({"input:context": "https://host.example/a/b.git?ref=main"}, "https://host.example/a/b.git#main"),
        ({"input:context": "input.tar"}, ""),
        ({"vcs:source": "https://host.example/a/b.git?ref=main"}, "https://host.example/a/b.git#main"),
        ({"vcs:source": "https://host.example/a/b.git?tag=v1"}, "https://host.example/a/b.git#refs/tags/v1"),
        ({"vcs:source": "git@host.example:a/b.git"}, "git@host.example:a/b.git"),
        ({"vcs:localdir:context": "subdir"}, "subdir"),
        ({"vcs:localdir:context": "."}, ""),
        ({"filename": "Dockerfile.release", "vcs:localdir:dockerfile": "deploy"}, "deploy/Dockerfile.release"),
        ({"filename": "Dockerfile", "vcs:localdir:dockerfile": "a/deploy"}, "a/deploy"),
        ({"target": "release"}, "release"),
        (
            {"target": "release", "context": "https://h.example/a.git#main"},
            "https://h.example/a.git#main (release)",
        ),
    ],
)
def test_the_name_of_a_build(attrs: dict[str, str], name: str) -> None:
    assert records.make_build_name(attrs) == name


@pytest.mark.parametrize(
    ("attrs", "state", "name"),
    [
        # buildx 0.38.2, util/history/name_test.go
        ({}, ("/tmp/project", "/tmp/project/deploy/Dockerfile.release"), "project/deploy/Dockerfile.release"),
        ({}, ("/tmp/project", "/tmp/project/Dockerfile"), "project"),
        ({"context": "subdir", "target": "release"}, ("/tmp/project", "/tmp/project/Dockerfile"), "subdir (release)"),
        (
            {"filename": "Dockerfile.release", "vcs:localdir:dockerfile": "deploy"},
            ("https://host.example/a.git", "/tmp/project/ignored/Dockerfile"),
            "deploy/Dockerfile.release",
        ),
        # Its rules
        ({}, ("/tmp/project", "/tmp/project/sub/Dockerfile"), "project/sub"),
        ({}, ("/tmp/project", "/etc/other/Dockerfile"), "other"),
        ({}, ("/tmp/project", "/etc/other/app.Dockerfile"), "other/app.Dockerfile"),
        ({}, ("/tmp/project", "-"), "project"),
        ({"target": "app"}, ("-", "-"), "app"),
        ({"vcs:localdir:context": "."}, ("/tmp/project", "Dockerfile"), "project"),
        ({"filename": "Dockerfile", "vcs:localdir:dockerfile": "a/b/deploy"}, ("", ""), "a/b/deploy"),
        ({}, ("git@host.example:a.git", "x"), ""),
        ({}, ("/", "/Dockerfile"), ""),
    ],
)
def test_the_name_of_a_build_that_this_machine_knows(attrs: dict[str, str], state: tuple[str, str], name: str) -> None:
    local = records.read_local_source({"LocalPath": state[0], "DockerfilePath": state[1]})
    assert records.make_build_name(attrs, local) == name


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ("https://host.example/a.git?ref=main", "https://host.example/a.git#main"),
        ("https://host.example/a.git?tag=v1&subdir=x", "https://host.example/a.git#refs/tags/v1"),
        ("https://host.example/a.git#main:x", "https://host.example/a.git#main:x"),
        ("https://host.example/input.tar?ref=main", "https://host.example/input.tar?ref=main"),
    ],
)
def test_a_git_context_has_its_reference_as_fragment(context: str, name: str) -> None:
    assert records.make_build_name({"context": context}) == name


def test_paths_are_shown_relative_to_the_working_directory() -> None:
    local = records.LocalSource(folder="/home/me/project", dockerfile="/home/me/project/deploy/Dockerfile")
    shown = [local.show_folder(cwd) for cwd in ("/home/me/project", "/home/me", "/home/other", "/home/me/project/x")]
    assert shown == [".", "project", "/home/me/project", "/home/me/project"]
    assert local.show_dockerfile() == "deploy/Dockerfile"
    assert records.LocalSource(folder="/a", dockerfile="/b/Dockerfile").show_dockerfile() == "/b/Dockerfile"
    assert (records.NO_SOURCE.show_folder("/"), records.NO_SOURCE.show_dockerfile()) == ("", "")


def test_running_builds_are_measured_by_the_daemons_clock() -> None:
    event = HistoryEvent(type=RecordState.STARTED, record=make_record(seconds=None))
    gone = HistoryEvent(type=RecordState.DELETED, record=make_record("gone"))
    clock = records.format_time((BEGIN + 75) * 10**9 + 250_000_000)
    listing = HistoryListing(events=(event, gone), clock=clock)
    (found,) = records.read_listing(listing, builder="kube", node="kube0", pod="kube0-0")
    assert (found.status, found.full_ref) == ("Running", "kube/kube0/ref")
    assert found.duration is not None
    assert records.format_duration(found.duration) == "1m 15s"
    (unknown,) = records.read_listing(HistoryListing(events=(event,), clock="?"), builder="b", node="n", pod="p")
    assert unknown.duration is None


def test_states_and_durations() -> None:
    done, failed = place(make_record()), place(make_record(error=RpcStatus(code=2, message="no")))
    assert (done.status, failed.status, failed.is_canceled) == ("Completed", "Error", False)
    assert place(make_record(error=RpcStatus(code=1, message="stopped"))).is_canceled
    assert records.format_duration(done.duration or 0) == "2.5s"
    assert records.format_time(done.created + 120_000_000) == "2026-11-30T10:00:00.12Z"


def test_running_builds_come_first_then_the_newest() -> None:
    found = [place(make_record(str(age), begin=BEGIN - age)) for age in (30, 10, 20)]
    running = place(make_record("runs", begin=BEGIN - 99, seconds=None))
    assert [one.ref for one in records.sort_for_table([*found, running])] == ["runs", "10", "20", "30"]
    assert [one.ref for one in records.sort_records([*found, running])] == ["10", "20", "30", "runs"]


@pytest.mark.parametrize(("text", "seconds"), [("2026-11-30T11:00:00+01:00", 0), ("2026-11-30T08:29:58.5-01:30", -1.5)])
def test_times_with_an_offset(text: str, seconds: float) -> None:
    assert records.parse_time(text) == round((BEGIN + seconds) * 10**9)


@pytest.mark.parametrize(
    "text", ["", "2026-11-30", "2026-11-30T10:00:00", "2026-11-30T10:00:00ZZ", "٢026-11-30T10:00:00Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        records.parse_time(text)


def test_which_build_is_meant() -> None:
    found = [place(make_record(name)) for name in ("newest", "before")]
    assert records.choose_record(found, records.read_choice("")).ref == "newest"
    assert records.choose_record(found, records.read_choice("^1")).ref == "before"
    assert records.read_choice("kube/kube0/before") == RecordChoice(ref="before")
    with pytest.raises(InputError, match="there are only 2 builds"):
        records.choose_record(found, records.read_choice("^2"))
    with pytest.raises(InputError, match="not an offset"):
        records.read_choice("^-1")
    with pytest.raises(InputError, match="no record found for ref 'x'"):
        records.choose_record([], RecordChoice(ref="x"))
    with pytest.raises(InputError, match="no records found"):
        records.choose_record([], RecordChoice())
