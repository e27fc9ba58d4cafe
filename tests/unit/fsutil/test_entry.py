import stat

import pytest

from ci_buildx.fsutil import entry


@pytest.mark.parametrize(
    ("posix", "go"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFREG | 0o2711, 1 << 22 | 0o711),
        (stat.S_IFDIR | 0o755, 1 << 31 | 0o755),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFBLK | 0o660, 1 << 26 | 0o660),
        (stat.S_IFCHR | 0o620, 1 << 26 | 1 << 21 | 0o620),
        (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
    ],
)
def test_modes_translate_both_ways(posix: int, go: int) -> None:
    assert entry.convert_from_posix(posix) == go
    assert entry.convert_to_posix(go) == posix


def test_a_socket_arrives_as_a_regular_file() -> None:
    assert entry.convert_from_posix(stat.S_IFSOCK | 0o755) == 0o755


def test_every_permission_survives() -> None:
    assert all(entry.read_permissions(entry.convert_from_posix(stat.S_IFREG | bits)) == bits for bits in range(0o10000))


def test_a_mode_of_two_types_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown file type"):
        entry.convert_to_posix(entry.DIRECTORY | entry.SYMLINK)
