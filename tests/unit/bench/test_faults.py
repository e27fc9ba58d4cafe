"""The bench of faults: its table holds what it promises, and an image counts only if each byte of it is there."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import faults
from bench.faults import Faults, is_interpreters, judge_code, read_back


class Registry(BaseHTTPRequestHandler):
    """Gives what is in ``blobs``, by digest."""

    blobs: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.blobs.get(self.path.rpartition("/")[2])
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def registry() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and what it holds."""
    blobs: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Holding", (Registry,), {"blobs": blobs}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", blobs
    server.shutdown()
    server.server_close()


def pushed(blobs: dict[str, bytes], mark: str) -> str:
    """An image's digest."""

    def put(content: Any) -> str:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        blobs[digest] = body
        return digest

    config = put({"config": {"Env": [f"MARK={mark}"]}})
    manifest = put({"config": {"digest": config}, "layers": [{"digest": put(b"layer")}]})
    return put({"manifests": [{"digest": manifest, "platform": {"os": "linux"}}]})


def test_a_whole_image(registry: tuple[str, dict[str, bytes]]) -> None:
    address, blobs = registry
    assert list(read_back(address, "x", pushed(blobs, "mine"), "mine")) == []


def test_another_builds_image(registry: tuple[str, dict[str, bytes]]) -> None:
    address, blobs = registry
    assert list(read_back(address, "x", pushed(blobs, "other"), "mine")) == ["the image is another build's"]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("damaged", [b"", None])
def test_a_part_that_is_damaged_or_missing(
    registry: tuple[str, dict[str, bytes]], number: int, damaged: bytes | None
) -> None:
    address, blobs = registry
    digest = pushed(blobs, "mine")
    part = list(blobs)[number]
    if damaged is None:
        del blobs[part]
    else:
        blobs[part] = damaged
    (fault,) = read_back(address, "x", digest, "mine")
    assert fault.startswith("the image cannot be read back")
    assert part in fault


def test_an_image_without_digest_is_no_image(registry: tuple[str, dict[str, bytes]]) -> None:
    (fault,) = read_back(registry[0], "x", "", "mine")
    assert fault.startswith("the image cannot be read back")


def test_the_table() -> None:
    arguments = faults.parser().parse_args([])
    nothing: Any = None
    table = Faults(ground=nothing, name="f", random=random.Random(), library=Path())
    names = list(table.cases(kills=arguments.kills, crowd=arguments.crowd))
    assert len(names) == len(set(names))
    assert len([name for name in names if name.startswith("kill-")]) * len(faults.SIGNALS) >= 30
    assert {f"cut-{seconds}-{phase}" for seconds in (5, 60) for phase in ("upload", "talking", "silent")} < set(names)
    for part in ("kube-apiserver", "etcd", "kubelet-amd64", "containerd-amd64", "registry-open"):
        assert f"restart-{part}-talking" in names
    assert {"crowd-30", "full-temp", "full-metadata", "full-volume", "clock-21600", "clock--21600"} < set(names)


@pytest.mark.parametrize(
    ("number", "codes"),
    [
        (signal.SIGKILL, {-9}),
        (signal.SIGTERM, {143, -15}),
        (signal.SIGINT, {130, -2}),
        (signal.SIGHUP, {129, -1}),
    ],
)
def test_a_job_that_is_ended_has_the_signals_exit_code(number: signal.Signals, codes: set[int]) -> None:
    for code in (0, 1, 2, 3, 129, 130, 137, 143, -1, -2, -9, -15):
        assert (not list(judge_code(number, code, late=False))) == (code in codes), code
        assert (not list(judge_code(number, code, late=True))) == (code in codes | {0}), code
    assert list(judge_code(signal.SIGTERM, 0, late=False)) == ["exit code 0 after SIGTERM, not 143"]


def test_only_ctrl_c_before_the_first_line_is_the_interpreters() -> None:
    early = "Fatal Python error: init_import_site: Failed to import the site module"
    ours = 'Traceback (most recent call last):\n  File "/x/ci_buildx/launch.py", line 8\nKeyboardInterrupt'
    assert is_interpreters(signal.SIGINT, 1, early)
    assert is_interpreters(signal.SIGINT, -2, ours.replace("ci_buildx/launch.py", "bin/kube-builder"))
    assert not is_interpreters(signal.SIGINT, -2, ours)
    assert not is_interpreters(signal.SIGINT, 0, early)
    assert not is_interpreters(signal.SIGINT, 1, "ERROR: no node")
    assert not is_interpreters(signal.SIGTERM, 1, early)
