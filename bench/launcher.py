"""Starts one command and writes what it cost. Run as a small process of its own: see `measure`."""

import json
import os
import select
import sys
import time


def main() -> int:
    """Arguments: a file descriptor for the account, a time limit in seconds, the command."""
    descriptor, limit, *argv = sys.argv[1:]
    # A daemon that the command leaves behind must not keep the account open.
    os.set_inheritable(int(descriptor), False)
    start = time.monotonic()
    process = os.posix_spawnp(argv[0], argv, os.environ)
    ended = wait(process, float(limit))
    _, status, usage = os.wait4(process, 0)
    account = {
        "seconds": time.monotonic() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024 / 1e6,
        "status": os.waitstatus_to_exitcode(status),
        "timed_out": not ended,
    }
    os.write(int(descriptor), json.dumps(account).encode())
    return 0


def wait(process: int, limit: float) -> bool:
    """Wait for the end without taking the status; kill what outlasts the limit. Whether it ended by itself."""
    handle = os.pidfd_open(process)
    try:
        readable, _, _ = select.select([handle], [], [], limit)
    finally:
        os.close(handle)
    if not readable:
        os.kill(process, 9)
    return bool(readable)


if __name__ == "__main__":
    sys.exit(main())
