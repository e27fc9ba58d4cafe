"""Dockerfiles of the tests' builds, and a build whose step waits."""

from __future__ import annotations

import subprocess

BOTH = "linux/amd64,linux/arm64"
RECORDS_MACHINE = "FROM busybox AS build\nRUN uname -m > /machine\nFROM scratch\nCOPY --from=build /machine /\n"
SLOW = "FROM busybox\nRUN echo begun && sleep 300\n"
HELD = "begun"


def until_held(process: subprocess.Popen[str]) -> list[str]:
    """What a build says until its step has begun."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if HELD in line and "RUN" not in line:
            break
    return said
