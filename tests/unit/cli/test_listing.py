"""How builders are shown: columns, sizes, platforms, filters and the table of `ls`, as docker's tools do it."""

from __future__ import annotations

from base64 import b64decode

import pytest

from ci_buildx.buildkit.messages import UsageRecord
from ci_buildx.cli import du, formatting, inspect, ls
from ci_buildx.errors import InputError
from ci_buildx.manage.survey import CacheUsage, ReplicaStatus
from ci_buildx.manage.target import CurrentBuilder
from ci_buildx.model.record import replace
from tests.unit.cli.replicas import AMD64, ARM64, platforms, seat, surveyed


def test_each_replica_is_a_line_and_the_current_builder_has_a_star() -> None:
    found = surveyed(
        seat("kube0-a", named=("linux/amd64",), runs=AMD64), seat("kube0-b", status=ReplicaStatus.STARTING)
    )
    where = "kubernetes:///kube?deployment=kube0&namespace=buildkit"
    assert ls.format_builders([found], CurrentBuilder(builder="kube", namespace="buildkit")) == (
        f"NAME/NODE     {'DRIVER/ENDPOINT':<{len(where) + 7}}STATUS     BUILDKIT   PLATFORMS\n"
        f"kube*         kubernetes\n"
        f" \\_ kube0-a    \\_ {where}   running    v0.34.2    linux/amd64* (+3), linux/386\n"
        f" \\_ kube0-b    \\_ {where}   starting\n"
    )
    assert ls.format_builders([found], CurrentBuilder(builder="kube", namespace="other")).splitlines()[1].split() == [
        "kube",
        "kubernetes",
    ]


def test_json_has_buildxs_names() -> None:
    described = ls.describe_builder(surveyed(seat("kube0-a", named=("linux/arm64",), runs=AMD64)), None)
    (node,) = described.pop("Nodes")
    assert described == {
        "Name": "kube",
        "Driver": "kubernetes",
        "Namespace": "buildkit",
        "Lifetime": "builder",
        "Dynamic": True,
        "Current": False,
    }
    assert node["Platforms"] == ["linux/arm64", *AMD64]
    assert (node["Status"], node["Version"], node["IDs"]) == ("running", "v0.34.2", ["w"])
    assert node["DriverOpts"] == {"namespace": "buildkit"}
    assert node["GCPolicy"][0]["keepDuration"] == 48 * 3600 * 10**9


def test_inspect_says_when_certificates_end() -> None:
    rows = inspect.format_rows(
        surveyed(seat("kube0-a", named=("linux/amd64",), runs=AMD64)), ends=86400.0 * 10, now=0.0
    )
    text = formatting.align_columns(rows)
    assert "Certificates: until 1970-01-11T00:00:00Z (10 days left)\n" in text
    assert "Platforms:        linux/amd64*, linux/amd64/v2, linux/amd64/v3, linux/386\n" in text
    assert "Labels:\n a: b\nGC Policy rule#0:\n All:           false\n Keep Duration: 48h0m0s\n" in text
    expired = inspect.format_rows(surveyed(seat("a")), ends=0.0, now=86400.0 * 2)
    assert ["Certificates:", "until 1970-01-01T00:00:00Z (expired: renew them with kube-builder stop)"] in expired


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (AMD64, "linux/amd64 (+3), linux/386"),
        (["linux/amd64*", *ARM64], "linux/amd64*, linux/arm64, linux/arm (+2)"),
        (["linux/amd64", "linux/amd64/v2*"], "linux/amd64* (+2)"),
        (
            ["linux/arm64", "linux/riscv64", "linux/ppc64le", "linux/s390x", "linux/386", "linux/loong64"],
            "linux/arm64, linux/ppc64le, linux/s390x, linux/riscv64, (2 more)",
        ),
        ([], ""),
    ],
)
def test_platforms_are_shortened(names: list[str], shown: str) -> None:
    assert formatting.shorten_platforms(names) == shown


def test_named_platforms_come_first_and_once() -> None:
    assert formatting.mark_named_platforms(platforms("linux/arm64"), platforms("linux/amd64", "linux/arm64")) == [
        "linux/arm64*",
        "linux/amd64",
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (4096, "4.096kB"), (2745999, "2.746MB"), (999, "999B"), (10**12, "1TB")]
)
def test_sizes(count: int, text: str) -> None:
    assert formatting.format_size(count) == text


@pytest.mark.parametrize(("text", "count"), [("10GB", 10 << 30), ("512mb", 512 << 20), ("1.5KiB", 1536), ("7", 7)])
def test_sizes_are_read_as_docker_reads_them(text: str, count: int) -> None:
    assert formatting.read_size(text, source="s") == count


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (86400, "24 hours"),
        (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"),
        (86400 * 90, "3 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert formatting.format_duration(seconds) == text


def test_inspect_shows_the_files_of_a_node() -> None:
    toml = '# x\n[log]\nformat = "text"\n'
    found = replace(surveyed(seat("kube0-a", runs=AMD64)), files={"kube0": {"buildkitd.toml": toml}})
    text = formatting.align_columns(inspect.format_rows(found, ends=0.0, now=0.0))
    assert text.endswith("File#buildkitd.toml:\n > [log]\n > format = 'text'\n > \n")
    (node,) = ls.describe_builder(found, None)["Nodes"]
    assert b64decode(node["Files"]["buildkitd.toml"]).decode() == toml


def test_columns_end_where_a_row_has_none() -> None:
    assert (
        formatting.align_columns([["a:", "1"], ["long:", "2"], ["alone"], ["b:", "3"]])
        == "a:    1\nlong: 2\nalone\nb: 3\n"
    )


@pytest.mark.parametrize(
    ("texts", "filter_", "seconds"),
    [
        ([], (), 0),
        (["id=abc"], ("id~=abc",), 0),
        (["type=regular", "inuse"], ("type==regular,inuse",), 0),
        (["description~=COPY", "type!=regular"], ("description~=COPY,type!=regular",), 0),
        (["until=48h", "shared"], ("shared",), 48 * 3600),
        (["unused-for=90s"], (), 90),
    ],
)
def test_filters(texts: list[str], filter_: tuple[str, ...], seconds: int) -> None:
    assert du.read_filters(texts) == du.CacheFilters(filter=filter_, keep_duration=seconds * 10**9)


def test_a_filter_is_given_once() -> None:
    with pytest.raises(InputError, match=r"^--filter: filter 'type' is given twice"):
        du.read_filters(["type=a", "type=b"])


def test_disk_usage() -> None:
    record = UsageRecord("abc", True, False, 4096, 0.0, 60.0, 3, "mount", "exec.cachemount", True, ("p", "q"))
    one = CacheUsage(pod="kube0-a", record=record)
    assert du.format_records([one], 120.0) == (
        "ID        RECLAIMABLE   SIZE       LAST ACCESSED\nabc*      true          4.096kB*   About a minute ago\n"
    )
    assert du.format_blocks([one], 120.0) == (
        "ID:           abc\nParents:\n - p\n - q\nCreated at:   1970-01-01 00:00:00 +0000 UTC\nMutable:      true\n"
        "Reclaimable:  true\nShared:       true\nSize:         4.096kB\nDescription:  mount\nUsage count:  3\n"
        "Last used:    About a minute ago\nType:         exec.cachemount\n\n"
    )
    assert (
        du.format_summary([record])
        == "Shared:       4.096kB\nPrivate:      0B\nReclaimable:  4.096kB\nTotal:        4.096kB\n"
    )
    both = du.format_records([one, CacheUsage(pod="kube0-b", record=record)], 120.0)
    assert [line.split()[-1] for line in both.splitlines()] == ["NODE", "kube0-a", "kube0-b"]
