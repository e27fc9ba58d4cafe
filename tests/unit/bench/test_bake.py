import pytest

from bench.lines.bake import read_megabytes


def test_the_bytes_of_shared_folders_are_read_from_the_log() -> None:
    log = "#4 /tmp/x (context): 20.01MB for 40 targets\n#5 /tmp/x (dockerfile): 2.3kB for 40 targets\n"
    assert read_megabytes(log) == 20.01
    assert read_megabytes(f"{log}#6 /tmp/x (context): 5.00MB for 1 target in pod a\n") == 25.01


def test_a_log_without_them_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="no shared folder"):
        read_megabytes("#1 DONE\n")
