import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import archives, programs, toolchain
from devcluster.archives import ReleaseArchive
from devcluster.errors import DevclusterError
from tests.unit.devcluster.file_server import serve_folder

PROGRAM = b"#!/bin/sh\necho released\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A served folder and its URL."""
    folder = tmp_path / "site"
    folder.mkdir()
    with serve_folder(folder) as url:
        yield folder, url


def release(folder: Path, url: str, name: str, *members: str) -> ReleaseArchive:
    """Publish an archive with these members; each becomes a program named by its last part."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            entry = tarfile.TarInfo(member)
            entry.size = len(PROGRAM)
            archive.addfile(entry, io.BytesIO(PROGRAM))
    (folder / name).write_bytes(buffer.getvalue())
    return ReleaseArchive(
        recipe="runc",
        url=f"{url}/{name}",
        digest=f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}",
        programs={member.rpartition("/")[2]: member for member in members},
    )


def test_programs_are_unpacked_from_their_members(site: tuple[Path, str], tmp_path: Path) -> None:
    archive = release(*site, "all.tar.gz", "bin/one", "bin/two")
    target = tmp_path / "target"
    target.mkdir()
    archives.fetch(replace(archive, programs={"uno": "bin/one"}), target)
    assert [path.name for path in target.iterdir()] == ["uno"]
    assert (target / "uno").read_bytes() == PROGRAM
    assert (target / "uno").stat().st_mode & 0o777 == 0o755


def test_a_file_can_be_the_program(site: tuple[Path, str], tmp_path: Path) -> None:
    (site[0] / "runc.amd64").write_bytes(PROGRAM)
    digest = f"sha512:{hashlib.sha512(PROGRAM).hexdigest()}"
    archives.fetch(
        ReleaseArchive(recipe="runc", url=f"{site[1]}/runc.amd64", digest=digest, programs={"runc": "."}), tmp_path
    )
    assert (tmp_path / "runc").read_bytes() == PROGRAM


def test_another_digest_is_refused(site: tuple[Path, str], tmp_path: Path) -> None:
    archive = replace(release(*site, "all.tar.gz", "bin/one"), digest=f"sha256:{'0' * 64}")
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(
        DevclusterError,
        match=r"all\.tar\.gz has the digest sha256:.*, not sha256:000.* as in the list: refused",
    ):
        archives.fetch(archive, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(("name", "reason"), [("none.tar.gz", "HTTP 404"), ("", "Connection refused")])
def test_what_cannot_be_fetched_is_unreachable(site: tuple[Path, str], tmp_path: Path, name: str, reason: str) -> None:
    archive = release(*site, "all.tar.gz", "bin/one")
    url = f"{site[1]}/{name}" if name else "http://127.0.0.1:1/all.tar.gz"
    with pytest.raises(archives.Unreachable, match=f"cannot be fetched: .*{reason}"):
        archives.fetch(replace(archive, url=url), tmp_path)


@pytest.mark.parametrize("member", ["bin/other", "bin"])
def test_a_missing_member_is_named(site: tuple[Path, str], tmp_path: Path, member: str) -> None:
    archive = release(*site, "all.tar.gz", "bin/one")
    with pytest.raises(DevclusterError, match=f"{archive.url}: .*{member}"):
        archives.fetch(replace(archive, programs={"one": member}), tmp_path)


def test_a_recipe_is_taken_whole_or_not_at_all(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBE_BUILDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "release", lambda: (1, 26, 8))
    programs.folder.cache_clear()
    recipe = programs.find_recipe("containerd")
    first = release(*site, "first.tar.gz", "bin/containerd", "bin/ctr")
    second = release(*site, "second.tar.gz", "bin/containerd-shim-runc-v2")
    with pytest.raises(DevclusterError, match=r"archives of containerd: list each .*: containerd-shim-runc-v2"):
        programs.take_archives(recipe, [first])
    assert not programs.take_archives(recipe, [])
    gone = replace(second, url=f"{site[1]}/gone.tar.gz")
    assert not programs.take_archives(recipe, [first, gone])
    assert "HTTP 404; compiling containerd instead" in capsys.readouterr().err
    assert not programs.is_built("ctr")
    assert programs.take_archives(recipe, [first, second])
    assert {name: programs.path(name).read_bytes() for name in recipe.names} == dict.fromkeys(recipe.names, PROGRAM)
    programs.folder.cache_clear()


LIST = """
[[archive]]
recipe = "runc"
url = "https://example.org/runc.amd64"
digest = "sha256:{digest}"
programs = {{ runc = "." }}
"""


def test_no_archive_is_taken_unasked(tmp_path: Path) -> None:
    assert archives.choose({}) == {}
    assert archives.choose({archives.VARIABLE: ""}) == {}
    own = tmp_path / "own.toml"
    own.write_text(LIST.format(digest="a" * 64))
    assert archives.choose({archives.VARIABLE: str(own)}) == {
        "runc": (
            ReleaseArchive(
                recipe="runc",
                url="https://example.org/runc.amd64",
                digest=f"sha256:{'a' * 64}",
                programs={"runc": "."},
            ),
        )
    }


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("[[archive]]", "[[archives]]", r"want tables \[\[archive\]\] and nothing else"),
        ("recipe =", "recipes =", "archive 1: want exactly the fields digest, programs, recipe, url"),
        ("sha256:a", "sha256:", "archive 1: digest: want sha256: or sha512:"),
        ("https:", "ftp:", "archive 1: url: want one of https, http, file, not ftp://"),
        ('"runc"', "7", "archive 1: want a text, not 7"),
        ("runc =", '"../runc" =', "archive 1: programs: want a file name without a folder, not '../runc'"),
        ('{ runc = "." }', "{}", "archive 1: programs: want a table"),
        ("[[archive]]", "[[archive", "want 'official' or a readable list, not"),
    ],
)
def test_a_mistake_in_a_list_is_named(tmp_path: Path, before: str, after: str, reason: str) -> None:
    own = tmp_path / "own.toml"
    text = LIST.format(digest="a" * 64)
    assert before in text
    own.write_text(text.replace(before, after))
    with pytest.raises(DevclusterError, match=reason) as error:
        archives.choose({archives.VARIABLE: str(own)})
    assert str(own) in str(error.value)


def test_the_official_archives_are_those_of_the_pinned_versions() -> None:
    found = archives.choose({archives.VARIABLE: "official"})
    assert found
    for name, parts in found.items():
        recipe = programs.find_recipe(name)
        assert sorted(program for part in parts for program in part.programs) == sorted(recipe.files)
        module = (programs.MODULES / recipe.module / "go.mod").read_text()
        versions = {line.split()[-1] for line in module.splitlines() if " v" in line and "//" not in line}
        for part in parts:
            assert part.url.startswith("https://")
            assert any(f"/{version}/" in part.url for version in versions), part.url
