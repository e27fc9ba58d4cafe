"""Each parser of one option: what it accepts, and the exact line that refuses the rest."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.settings.attributes import parse_provenance, parse_sbom
from ci_buildx.settings.buildkitd import parse_flags
from ci_buildx.settings.pairs import parse_annotations, parse_build_args, parse_labels, parse_tags
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.syntax import parse_duration, parse_quantity, split_fields, split_lines


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["linux/amd64,linux/arm64"], ["linux/amd64", "linux/arm64"]),
        (["linux/arm64", "linux/amd64", "linux/aarch64"], ["linux/arm64", "linux/amd64"]),
        (["arm64", "x86_64"], ["linux/arm64", "linux/amd64"]),
        (["linux/arm", "linux/arm/6", "linux/386"], ["linux/arm/v7", "linux/arm/v6", "linux/386"]),
        (["linux/amd64/v3", "linux/arm64/v9"], ["linux/amd64/v3", "linux/arm64/v9"]),
        (["local"], ["linux/riscv64"]),
        (["windows/amd64", "wasi/wasm"], ["windows/amd64", "wasi/wasm"]),
        (["windows(10.0.17763)/amd64", "windows/amd64"], ["windows(10.0.17763)/amd64", "windows/amd64"]),
    ],
)
def test_platforms(texts: list[str], expected: list[str]) -> None:
    platforms = parse_platforms(texts, source="--platform", machine="riscv64")
    assert [str(platform) for platform in platforms] == expected
    assert all(isinstance(platform, Platform) for platform in platforms)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linux/amd46", "--platform: unknown architecture 'amd46' in platform 'linux/amd46'; did you mean 'amd64'?"),
        (
            "linus/amd64",
            "--platform: unknown operating system 'linus' in platform 'linus/amd64'; did you mean 'linux'?",
        ),
        ("linux", "--platform: platform 'linux' has no architecture; write it like linux/amd64"),
        ("linux/arm/v9", "--platform: unknown variant 'v9' in platform 'linux/arm/v9'; known: v5, v6, v7, v8"),
        ("linux/", "--platform: malformed platform 'linux/'; write os/architecture, such as linux/amd64"),
        (
            "windows(1/amd64",
            "--platform: malformed platform 'windows(1/amd64'; write os/architecture, such as linux/amd64",
        ),
        (
            "linux/amd64(1)",
            "--platform: malformed platform 'linux/amd64(1)'; write os/architecture, such as linux/amd64",
        ),
        ("linux/amd64,", "--platform: malformed platform ''; write os/architecture, such as linux/amd64"),
    ],
)
def test_refuses_platform(text: str, message: str) -> None:
    assert refusal(lambda: parse_platforms([text], source="--platform")) == message


def test_tags_stay_as_typed() -> None:
    assert parse_tags(["app:1", "app:1", "registry.example/team/app"], source="--tag") == (
        "app:1",
        "registry.example/team/app",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b",
            (
                "--tag: invalid tag 'a,b': repository name 'a,b' may contain only a-z, 0-9 and, between them, '.', "
                "'_', '__', '-' and '/'; repeat the option for each tag"
            ),
        ),
        ("App", "--tag: invalid tag 'App': repository name 'App' must be lower-case; write it like registry/name:tag"),
        (
            "a@sha256:" + "0" * 64,
            (f"--tag: invalid tag 'a@sha256:{'0' * 64}': only the build determines the digest; omit '@…'"),
        ),
    ],
)
def test_refuses_tag(text: str, message: str) -> None:
    assert refusal(lambda: parse_tags([text], source="--tag")) == message


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        # k8s.io/apimachinery v0.34.2 pkg/api/resource/quantity_test.go, TestQuantityParse
        ("1", "1"),
        ("8Ki", "8192"),
        ("7Mi", "7340032"),
        ("3Ei", "3458764513820540928"),
        ("5n", "5e-9"),
        ("3m", "0.003"),
        ("50k", "50000"),
        ("300T", "3e14"),
        ("1E", "1e18"),
        ("1E-3", "0.001"),
        ("1e3", "1000"),
        ("1.3E+6", "1300000"),
        ("100.035k", "100035"),
        ("0.5e-1", "0.05"),
        ("100.035Ki", "102435.84"),
        (".001", "0.001"),
        ("1.", "1"),
        ("1.G", "1e9"),
        ("+2", "2"),
    ],
)
def test_quantities(text: str, amount: str) -> None:
    assert parse_quantity(text, source="x") == Decimal(amount)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: '' is not a quantity; write it like 2, 500m or 512Mi"),
        ("lots", "x: 'lots' is not a quantity; write it like 2, 500m or 512Mi"),
        ("1 Gi", "x: '1 Gi' is not a quantity; write it like 2, 500m or 512Mi"),
        ("2GB", "x: unknown unit 'GB' in quantity '2GB'; did you mean 'G'?"),
        ("2mi", "x: unknown unit 'mi' in quantity '2mi'; did you mean 'Mi'?"),
        ("2GiB", "x: unknown unit 'GiB' in quantity '2GiB'; did you mean 'Gi'?"),
        ("2K", "x: unknown unit 'K' in quantity '2K'; did you mean 'k'?"),
        ("2x", "x: unknown unit 'x' in quantity '2x'; known: n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei"),
        ("-1", "x: quantity '-1' must be more than zero"),
        ("0", "x: quantity '0' must be more than zero"),
        ("9e99", "x: quantity '9e99' is more than 2^63-1"),
        ("512m", "x: '512m' is not a whole number of bytes; did you mean '512Mi'?"),
    ],
)
def test_refuses_quantity(text: str, message: str) -> None:
    assert refusal(lambda: parse_quantity(text, source="x", whole=True)) == message


@pytest.mark.parametrize(("text", "seconds"), [("2m", 120), ("120s", 120), ("90", 90), ("1h30m", 5400), ("1.5s", 1.5)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, source="x") == seconds


@pytest.mark.parametrize("text", ["", "m", "1d", "-5s", "1 m", "0", "0s", "2m3"])
def test_refuses_duration(text: str) -> None:
    assert refusal(lambda: parse_duration(text, source="x")).startswith("x: ")


def test_build_args_labels_annotations() -> None:
    args = parse_build_args(["A=1", "B", "C", "D=", "A=2=3"], source="x", env={"B": "from env"})
    assert args == (("A", "2=3"), ("B", "from env"), ("D", ""))
    epoch = {"SOURCE_DATE_EPOCH": "7"}
    assert parse_build_args(["A=1"], source="x", env=epoch) == (("A", "1"), ("SOURCE_DATE_EPOCH", "7"))
    assert parse_build_args(["SOURCE_DATE_EPOCH="], source="x", env=epoch) == (("SOURCE_DATE_EPOCH", ""),)
    assert parse_labels(["a=1", "b"], source="x") == (("a", "1"), ("b", ""))
    annotations = parse_annotations(["k=v", "index,manifest[linux/aarch64]:k=w"], source="x")
    assert annotations == (("k", "v"), ("index:k", "w"), ("manifest[linux/arm64]:k", "w"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("indx:k=v", "x: unknown annotation target 'indx'; did you mean 'index'?"),
        (
            "manifest[linux/amd46]:k=v",
            "x: unknown architecture 'amd46' in platform 'linux/amd46'; did you mean 'amd64'?",
        ),
        ("k", "x: annotation 'k' has no value; write key=value"),
        ("=v", 'x: invalid key-value pair "=v": empty key; write key=value'),
        ("index:=v", "x: annotation 'index:=v' has no key; write index:key=value"),
    ],
)
def test_refuses_annotation(text: str, message: str) -> None:
    assert refusal(lambda: parse_annotations([text], source="x")) == message


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ("", {}, "mode=min,inline-only=true"),
        ("", {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}, ""),
        ("true", {}, "type=provenance"),
        ("false", {}, ""),
        ("mode=max", {}, "type=provenance,mode=max"),
        ("type=provenance,mode=max", {}, "type=provenance,mode=max"),
        ("disabled=true", {}, ""),
    ],
)
def test_provenance(text: str, env: dict[str, str], expected: str) -> None:
    assert parse_provenance(text, source="x", env=env) == expected


def test_attestations_refused() -> None:
    assert parse_sbom("generator=scanner:1", source="x") == "type=sbom,generator=scanner:1"
    assert refusal(lambda: parse_provenance("mode=maxx", source="x", env={})) == (
        "x: unknown provenance mode 'maxx'; did you mean 'max'?"
    )
    assert (
        refusal(lambda: parse_sbom("maybe", source="x"))
        == "x: 'maybe' is not key=value; write true, false or key=value,…"
    )


def test_flags() -> None:
    assert parse_flags("--debug --addr 'a b'", source="x") == ("--debug", "--addr", "a b")
    assert (
        refusal(lambda: parse_flags("--a 'b", source="x"))
        == 'x: cannot split "--a \'b": no closing quotation; close the quote'
    )
    assert refusal(lambda: parse_flags("debug", source="x")) == "x: 'debug' is not a flag; flags begin with '-'"


def test_csv_lines() -> None:
    assert split_fields('"a=1,2",b,"c=""q"""') == ["a=1,2", "b", 'c="q"']
    assert split_fields("") == []
    assert split_fields(",") == ["", ""]
    assert split_lines('a=1\n\n  b=2 \n"key=a,b"\n') == ["a=1", "b=2", '"key=a,b"']


@pytest.mark.parametrize(
    ("text", "env"), [("BUILDKIT_SYNTAX=", {}), ("BUILDKIT_SYNTAX= ", {}), ("BUILDKIT_SYNTAX", {"BUILDKIT_SYNTAX": ""})]
)
def test_a_frontend_without_a_name_is_refused_before_there_is_a_builder(text: str, env: dict[str, str]) -> None:
    with pytest.raises(InputError, match="build-arg: empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg"):
        parse_build_args([text], source="build-arg", env=env)
