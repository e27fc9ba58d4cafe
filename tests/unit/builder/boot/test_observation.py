from typing import Any

from ci_buildx.builder.boot.diagnose import diagnose
from ci_buildx.builder.boot.observation import Observation, PodStage
from tests.unit.builder.boot.cases import event, pod, running, scheduled, terminated


def test_before_there_are_pods_the_job_is_the_case() -> None:
    (only,) = Observation().list_cases("amd64", "buildkit-amd64", 0.0)
    assert only.pod is None
    assert only.subject == "job buildkit-amd64"


def test_a_pod_that_was_ready_has_served() -> None:
    seen = Observation()
    seen.note_pod(running(ready=True), None, gone=False)
    seen.note_pod(terminated(reason="OOMKilled"), None, gone=False)
    (only,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert only.served


def test_a_pod_that_vanished_stays_a_case() -> None:
    seen = Observation()
    seen.note_pod(running(ready=True), None, gone=False)
    seen.note_pod(running(), None, gone=True)
    (only,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert only.vanished
    assert diagnose(only).stage is PodStage.FAILED
    assert seen.list_pod_views("amd64") == ()


def test_views_are_of_one_node_and_tell_which_pods_are_going() -> None:
    seen = Observation()
    going = scheduled()
    going["metadata"] |= {"name": "going", "deletionTimestamp": "2026-05-01T12:00:00Z"}
    for each in (pod(name="b"), pod(name="a"), going):
        seen.note_pod(each, None, gone=False)
    assert [(view.name, view.terminating) for view in seen.list_pod_views("amd64")] == [
        ("a", False),
        ("b", False),
        ("going", True),
    ]
    assert seen.list_pod_views("arm64") == ()


def test_events_reach_their_own_pod_and_repetitions_replace() -> None:
    seen = Observation()
    seen.note_pod(scheduled(), None, gone=False)
    seen.note_event(event("FailedMount", count=1) | {"metadata": {"name": "e", "uid": "1"}})
    seen.note_event(event("FailedMount", count=2) | {"metadata": {"name": "e", "uid": "1"}})
    seen.note_event(event("FailedMount") | {"involvedObject": {"name": "another"}})
    (only,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert [found["count"] for found in only.events] == [2]


def test_a_flood_of_events_is_bounded() -> None:
    seen = Observation()
    for number in range(1000):
        seen.note_event(event("Unhealthy") | {"metadata": {"name": str(number)}})
    assert len(seen.events["buildkit-amd64-x"]) == 200


def test_the_servers_clock_goes_on_between_its_answers() -> None:
    moments = iter([5.0, 7.0, 8.0])
    seen = Observation(monotonic=lambda: next(moments))
    assert [seen.read_clock(1000.0), seen.read_clock(1000.0), seen.read_clock(1010.0)] == [1000.0, 1002.0, 1010.0]


def test_events_of_an_earlier_pod_of_the_same_name_do_not_count() -> None:
    seen = Observation()
    pod = scheduled()
    pod["metadata"]["uid"] = "new"
    seen.note_pod(pod, None, gone=False)
    for uid in ("old", "new"):
        about = {"kind": "Pod", "name": pod["metadata"]["name"], "uid": uid}
        seen.note_event({**event("FailedMount", uid), "metadata": {"name": uid}, "involvedObject": about})
    (case,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert [each["message"] for each in case.events] == ["new"]


def in_use(*, restarts: int = 0, uid: str = "a", ready: bool = True) -> dict[str, Any]:
    found = running(ready=ready)
    found["metadata"]["uid"] = uid
    found["status"]["containerStatuses"][0]["restartCount"] = restarts
    return found


def test_a_daemon_that_has_restarted_since_its_answer_is_lost_though_it_runs() -> None:
    seen = Observation()
    seen.note_pod(in_use(restarts=1), None, gone=False)
    seen.note_answer("buildkit-amd64-x")
    (before,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert diagnose(before).stage is PodStage.READY
    again = in_use(restarts=2)
    again["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    seen.note_pod(again, None, gone=False)
    (after,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert diagnose(after).reason == "OOMKilled"
    seen.note_loss(again, replaced=False)
    (released,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert diagnose(released).stage is PodStage.READY, "the next build may use it"


def test_an_answer_that_overtakes_the_status_is_that_of_the_next_daemon() -> None:
    seen = Observation()
    ended = in_use(restarts=0)
    ended["status"]["containerStatuses"][0] |= {
        "ready": False,
        "state": {"terminated": {"reason": "Error", "exitCode": 137}},
    }
    seen.note_pod(ended, None, gone=False)
    seen.note_answer("buildkit-amd64-x")
    (stale,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert diagnose(stale).error is None, "the end that it shows is that of the daemon before"
    seen.note_pod(in_use(restarts=1), None, gone=False)
    (only,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert diagnose(only).stage is PodStage.READY


def test_a_pod_is_lost_though_a_stateful_set_has_made_another_one_of_its_name() -> None:
    seen = Observation()
    seen.note_pod(in_use(uid="a"), None, gone=False)
    seen.note_answer("buildkit-amd64-x")
    seen.note_pod(in_use(uid="a"), None, gone=True)
    seen.note_pod(in_use(uid="b", ready=False), None, gone=False)
    stages = [diagnose(case).stage for case in seen.list_cases("amd64", "buildkit-amd64", 0.0)]
    assert stages == [PodStage.WAITING, PodStage.FAILED]
    seen.note_loss(in_use(uid="a"), replaced=False)
    (only,) = seen.list_cases("amd64", "buildkit-amd64", 0.0)
    assert not only.served


def test_a_lost_pod_of_a_job_is_no_longer_one_to_choose() -> None:
    seen = Observation()
    seen.note_pod(in_use(), None, gone=False)
    seen.note_loss(in_use(), replaced=True)
    assert seen.list_pod_views("amd64") == ()
