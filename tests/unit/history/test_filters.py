"""Filters: what is sent to buildkitd, and what is applied to running builds here."""

import pytest

from ci_buildx.buildkit.messages import RpcStatus
from ci_buildx.errors import InputError
from ci_buildx.history.filters import read_filters
from ci_buildx.history.records import PlacedRecord
from tests.unit.history.records import BEGIN, make_record, place

DONE = place(make_record("done", frontend_attrs={"vcs:source": "https://host.example/a/b.git"}))
FAILED = place(make_record("failed", begin=BEGIN - 7200, seconds=300, error=RpcStatus(code=2, message="exit code: 1")))
CANCELED = place(make_record("canceled", error=RpcStatus(code=1, message="x: context canceled")))
RUNNING = place(make_record("running", seconds=None, frontend_attrs={"context": "https://host.example/c/d.git#main"}))
ALL = (DONE, FAILED, CANCELED, RUNNING)


@pytest.mark.parametrize(
    ("texts", "sent", "expected"),
    [
        (["status=error"], "status==error", [FAILED]),
        (["status!=completed"], "status!=completed", [FAILED, CANCELED, RUNNING]),
        (["status=canceled"], "status==canceled", [CANCELED]),
        (["ref=on"], "ref~=on", [DONE]),
        (["ref!=done", "status=running"], "ref!=done,status==running", [RUNNING]),
        (["repository=c/d"], "repository~=c/d", [RUNNING]),
        (["repository=https://host.example/a/b.git"], "repository~=https://host.example/a/b.git", [DONE]),
        (["duration>=5m"], "duration>=5m", [FAILED]),
        (["startedAt<1h"], "startedAt<1h", [FAILED]),
        (["startedAt>=2026-11-30T10:00:00Z"], "startedAt>=2026-11-30T10:00:00Z", [DONE, CANCELED, RUNNING]),
        (["completedAt<=1h"], "completedAt<=1h", [FAILED, RUNNING]),
    ],
)
def test_conditions(texts: list[str], sent: str, expected: list[PlacedRecord]) -> None:
    found = read_filters(texts, now=BEGIN + 60.0)
    assert found.filter == (sent,)
    assert found.limit == 50
    assert [one for one in ALL if found.accepts(one)] == expected


def test_what_buildkitd_cannot_be_sent_is_applied_to_all_records_here() -> None:
    found = read_filters(["repository=a,b", "status=error"])
    assert found.filter == ("status==error",)
    assert found.limit == 0
    assert read_filters([]).filter == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status", "invalid filter 'status'"),
        ("state=error", "unknown filter 'state'"),
        ("status>error", "needs one of = !="),
        ("duration=5m", "needs one of <= < >= >"),
        ("duration>soon", "not a duration"),
        ("startedAt>yesterday", "not a duration"),
    ],
)
def test_what_is_no_filter(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_filters([text])
