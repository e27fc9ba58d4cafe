import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import layout, processes
from devcluster.processes import Command, Record

STAT = "4711 (a (b) c) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8815 5 6 7\n"


def test_a_stat_line_is_read_past_a_name_with_parentheses() -> None:
    assert processes.parse(STAT) == (4711, "S", 8815)


@pytest.mark.parametrize("text", ["", "4711", STAT[:40], "4711 (a) S 1"])
def test_a_record_that_was_cut_off_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="stat line"):
        processes.parse(text)


def test_a_number_that_another_process_got_is_not_alive() -> None:
    started = processes.start_time(os.getpid())
    assert started is not None
    assert Record(name="me", pid=os.getpid(), started=started).alive
    assert not Record(name="me", pid=os.getpid(), started=started - 1).alive


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.start_time(child.pid) is None


def test_a_started_process_is_recorded_detached_and_can_be_stopped(tmp_path: Path) -> None:
    cluster = layout.cluster("unit", tmp_path)
    settings = tmp_path / "settings"
    settings.write_text("old")
    argv = ("/bin/sh", "-c", 'echo "$GREETING $PWD"; sleep 60 & wait')
    command = Command(argv=argv, env={"GREETING": "hi"}, cwd=tmp_path, reads=(settings,))
    processes.start(cluster, "sleeper", command, [])
    record = processes.record(cluster, "sleeper")
    assert record
    try:
        assert record.alive
        assert os.getsid(record.pid) == record.pid
        while not (log := (cluster.run / "sleeper.log").read_text()):
            assert record.alive
        assert log == f"hi {tmp_path}\n"
        assert processes.follows(record, command)
        assert not processes.follows(record, Command(argv=("/bin/sh",)))
        assert not processes.follows(record, replace(command, env={"GREETING": "hello"}))
        settings.write_text("new")
        assert not processes.follows(record, command)
    finally:
        processes.stop(record)
        processes.reap([record.pid])
    assert not processes.running(cluster, "sleeper")
