"""Starts one command and reports its cost. Runs as a small separate process: see `measure`."""

import json
import os
import select
import sys
import time

_STEP = 0.005
"""Seconds between two looks for the first output."""


def main() -> int:
    """Run a command; arguments: a file descriptor for the report, a time limit in seconds, the command."""
    descriptor, limit, *argv = sys.argv[1:]
    # A daemon that the command leaves behind must not keep the report's descriptor open.
    os.set_inheritable(int(descriptor), False)
    start = time.monotonic()
    process = os.posix_spawnp(argv[0], argv, os.environ)
    first, ended = wait(process, start, float(limit))
    _, status, usage = os.wait4(process, 0)
    account = {
        "seconds": time.monotonic() - start,
        "first": first,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024 / 1e6,
        "status": os.waitstatus_to_exitcode(status),
        "timed_out": not ended,
    }
    os.write(int(descriptor), json.dumps(account).encode())
    return 0


def wait(process: int, start: float, limit: float) -> tuple[float, bool]:
    """Wait for the end without reaping the process; kill it at the limit.

    Return the seconds after ``start`` at which its output, a file, was first seen not to be empty (0 if it never was),
    and whether it ended by itself.
    """
    handle = os.pidfd_open(process)
    first = 0.0
    try:
        while not first and time.monotonic() - start < limit:
            if select.select([handle], [], [], _STEP)[0]:
                return first, True
            if os.fstat(1).st_size:
                first = time.monotonic() - start
        readable, _, _ = select.select([handle], [], [], max(start + limit - time.monotonic(), 0.0))
    finally:
        os.close(handle)
    if not readable:
        os.kill(process, 9)
    return first, bool(readable)


if __name__ == "__main__":
    sys.exit(main())
