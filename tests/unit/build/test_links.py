"""Targets that need each other: in which order they are computed, and what a failure does to the others."""

from __future__ import annotations

import json
import threading

import pytest

from ci_buildx.build.links import LinkKey, TargetLinks
from ci_buildx.buildkit.relay import FrontendRef, FrontendResult, make_inputs, read_response
from ci_buildx.errors import KubeBuilderError, Stopped
from ci_buildx.runtime.signals import ThreadOutcome, start_thread
from ci_buildx.wire.protobuf import encode_length_delimited

LEAF, MIDDLE, ROOT = (LinkKey(name, "amd64") for name in ("leaf", "middle", "root"))
CHAIN = {LEAF: {}, MIDDLE: {"base": "leaf"}, ROOT: {"app": "middle", "same": "middle"}}


def make_result(name: str) -> FrontendResult:
    """A result of one platform."""
    return FrontendResult(encoded=b"", ref=FrontendRef(name, name.encode()))


def hold(links: TargetLinks, key: LinkKey, order: list[str], stop: threading.Event) -> ThreadOutcome[None]:
    """Run one build's part in a thread; ``order`` notes what happens."""

    def work() -> None:
        links.take_contexts(key, stop)
        links.hold(key, make_result(key.target), lambda: order.append(f"computed {key.target}"), stop)
        order.append(f"ended {key.target}")

    return start_thread(work)


def finish(threads: list[ThreadOutcome[None]]) -> None:
    """Wait for threads and raise their first error."""
    for one in threads:
        one.done.wait()
    for one in threads:
        one.take_result()


def test_targets_are_computed_after_what_they_need_and_end_after_what_needs_them() -> None:
    links, order, stop = TargetLinks(CHAIN), list[str](), threading.Event()
    finish([hold(links, key, order, stop) for key in (ROOT, LEAF, MIDDLE)])
    assert [one for one in order if one.startswith("computed")] == ["computed leaf", "computed middle", "computed root"]
    assert [one for one in order if one.startswith("ended")] == ["ended root", "ended middle", "ended leaf"]


def test_a_target_gets_the_results_of_its_node_by_the_names_of_its_contexts() -> None:
    links, stop = TargetLinks(CHAIN), threading.Event()
    threads = [hold(links, key, [], stop) for key in (LEAF, MIDDLE)]
    found = links.take_contexts(ROOT, stop)
    assert {name: one.ref for name, one in found.items()} == {
        "app": FrontendRef("middle", b"middle"),
        "same": FrontendRef("middle", b"middle"),
    }
    links.hold(ROOT, make_result("root"), lambda: None, stop)
    finish(threads)


def test_an_independent_target_is_not_held() -> None:
    links = TargetLinks({LEAF: {}, MIDDLE: {}})
    assert links.join("leaf", "amd64", threading.Event()) is None
    assert TargetLinks(CHAIN).join("leaf", "amd64", threading.Event()) is not None


def test_what_needs_a_failed_target_is_aborted_with_its_reason() -> None:
    links, stop = TargetLinks(CHAIN), threading.Event()
    links.fail("leaf", KubeBuilderError("step 3 failed"))
    with pytest.raises(KubeBuilderError, match="aborted: target leaf failed: step 3 failed"):
        links.take_contexts(MIDDLE, stop)
    assert links.aborted == {"middle"}


def test_a_failed_dependent_does_not_fail_what_it_needs() -> None:
    links, order, stop = TargetLinks(CHAIN), list[str](), threading.Event()
    links.fail("root", KubeBuilderError("no"))
    finish([hold(links, key, order, stop) for key in (LEAF, MIDDLE)])
    assert order == ["computed leaf", "computed middle", "ended middle", "ended leaf"]
    assert links.aborted == set()


def test_together_nothing_ends_before_all_are_computed() -> None:
    keys = [LinkKey(name, "amd64") for name in ("a", "b", "c")]
    links, order, stop = TargetLinks({key: {} for key in keys}, together=True), list[str](), threading.Event()
    finish([hold(links, key, order, stop) for key in keys])
    assert all(one.startswith("computed") for one in order[:3])


def test_a_stop_ends_the_waiting() -> None:
    links, stop = TargetLinks(CHAIN), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        links.take_contexts(MIDDLE, stop)


def encode(number: int, *parts: bytes) -> bytes:
    """A message of fields."""
    return encode_length_delimited(number, b"".join(parts))


def test_results_by_platform_become_inputs_with_their_configurations() -> None:
    definition = encode(1, b"op")
    ref = encode(1, b"id-1") + encode(2, definition)
    refs = encode(4, encode(1, encode(1, b"linux/amd64"), encode(2, ref)))
    metadata = encode(10, encode(1, b"containerimage.config/linux/amd64"), encode(2, b"{}"))
    result = read_response(encode(3, refs, metadata))
    assert result.ids == ("id-1",)
    inputs = make_inputs({"base": result})
    assert inputs.attrs == {
        "context:base::linux/amd64": "input:base::linux/amd64",
        "input-metadata:base::linux/amd64": json.dumps({"containerimage.config": "e30="}),
    }
    assert inputs.definitions == {"base::linux/amd64": definition}
    assert inputs.replaced == ("context:base",)


def test_a_single_result_is_one_input() -> None:
    result = read_response(encode(3, encode(3, encode(1, b"id"), encode(2, b"")), encode(10, encode(1, b"x"))))
    assert make_inputs({"b": result}).attrs == {"context:b": "input:b"}


@pytest.mark.parametrize("message", [b"\xff", b"\x1a\xff", encode(3, b"\xff\xff")])
def test_an_answer_that_cannot_be_read_is_an_error(message: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        read_response(message)
