import shutil
import threading
from pathlib import Path

from devcluster.locks import locked


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with locked(tmp_path / "folder"):
            order.append("second")

    with locked(tmp_path / "folder"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]


def test_who_waited_for_a_folder_that_was_removed_gets_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "folder"
    there = []

    def second() -> None:
        with locked(folder):
            there.append(folder.is_dir())

    with locked(folder):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        shutil.rmtree(folder.parent)
    waiting.join(30)
    assert there == [True]
