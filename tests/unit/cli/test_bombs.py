"""Files and values of a user that no reader expects: exit code 2 and one line, never an internal error."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import LONGEST_ERROR, ProcessContext
from ci_buildx.settings.raw_values import LONGEST_VALUE

DEEP = "a: " + "[" * 3000
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)
BOMBS = {
    "deep": DEEP,
    "aliases": LAUGHS,
    "date": "a: 2024-99-99",
    "number": f"a: {'9' * 5000}",
    "type": "a: !!timestamp x",
    "NUL": "a: \0",
}
TOML = {"deep": "a = " + "[" * 100_000, "number": "a = " + "9" * 5000, "dots": "a" + ".a" * 100_000 + " = 1"}


def run(cwd: Path, *argv: str, **env: str) -> str:
    """The error of a run, which must be one line and end with exit code 2."""
    stderr = io.StringIO()
    code = main(list(argv), ProcessContext(env={"HOME": str(cwd), **env}, cwd=cwd, stdout=io.StringIO(), stderr=stderr))
    said = stderr.getvalue()
    assert code == 2, said[:500]
    assert said.startswith("kube-builder: error: ")
    assert said.count("\n") == 1
    assert len(said) < LONGEST_ERROR + 100
    return said


PRINT = ("build", "--print", "solve", "--platform", "linux/amd64", ".")


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    "options",
    [
        (*PRINT, "--builder-config", "bomb"),
        (*PRINT, "--driver-opt", "pod-template=bomb"),
        (*PRINT, "--kubeconfig", "bomb"),
        ("migrate", "bomb"),
    ],
    ids=["builder-config", "pod-template", "kubeconfig", "migrate"],
)
def test_yaml(bomb: str, options: tuple[str, ...], cwd: Path) -> None:
    (cwd / "bomb").write_text(BOMBS[bomb])
    (cwd / ".kube").mkdir()
    if "--kubeconfig" in options:
        options = ("ls", "--kubeconfig", str(cwd / "bomb"))
    assert "bomb" in run(cwd, *options)


@pytest.mark.parametrize("bomb", TOML)
def test_toml(bomb: str, cwd: Path) -> None:
    (cwd / "bomb").write_text(TOML[bomb])
    assert "bomb: " in run(cwd, *PRINT, "--buildkitd-config", "bomb")


@pytest.mark.parametrize("text", ["[" * 200_000, json.dumps({"auths": 1})[:-1] + ', "a": 1e999}'])
def test_json(text: str, cwd: Path) -> None:
    (cwd / "policy").write_text(text)
    assert "is not JSON" in run(cwd, *PRINT, EXPERIMENTAL_BUILDKIT_SOURCE_POLICY=str(cwd / "policy"))


NINES = "9" * 400


@pytest.mark.parametrize(
    "options",
    [
        ("--shm-size", NINES),
        ("--shm-size", f"{NINES}g"),
        ("--resource", f"memory={NINES}"),
        ("--resource", f"cpu-quota={'9' * 5000}"),
        ("--ulimit", f"nofile={'9' * 5000}"),
        ("--cache-to", f"type=s3,region=r,bucket=b,upload_parallelism={'9' * 5000}"),
        ("--output", f"type=oci,dest=x,compression-level={'9' * 5000}"),
        ("--output", "x" * 5000),
        ("--output", "type=local,dest=loop/x,mode=delete"),
        ("--metadata-file", "x" * 5000),
        ("--iidfile", "loop/x"),
        ("--kubeconfig", f"x{NINES}"),
        ("--builder-config", "x" * 5000),
        ("--tag", "[" * 4000),
        ("--build-context", f"a=\n{'b' * 100_000}"),
    ],
    ids=lambda options: f"{options[0]}-{options[1][:20]}",
)
def test_values(options: tuple[str, str], cwd: Path) -> None:
    (cwd / "loop").symlink_to("loop")
    assert options[0] in run(cwd, *PRINT, *options)


@pytest.mark.parametrize(
    "option",
    ["--buildkitd-flags", "--label", "--build-arg", "--driver-opt", "--tag", "--cache-from", "--allow", "--ssh"],
)
def test_a_value_is_not_longer_than_an_argument_can_be(option: str, cwd: Path) -> None:
    """Some parsers take time that grows with the square of the length."""
    said = run(cwd, *PRINT, option, "-" + "x" * LONGEST_VALUE)
    assert said.startswith(f"kube-builder: error: {option}: the value has {LONGEST_VALUE + 1} characters, more than")


@pytest.mark.parametrize("size", [NINES, f"{NINES}gb"])
def test_sizes_of_verbs(size: str, cwd: Path) -> None:
    assert "is more than 2^63-1" in run(cwd, "prune", "--max-used-space", size)
