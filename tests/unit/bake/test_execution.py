"""``--jobs``, and what a definition has to be granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.bake import entitlements
from ci_buildx.bake.definitions import DefinitionContext, DefinitionFile, load_definition
from ci_buildx.bake.execution import FailureMode, TargetExecution, parse_jobs
from ci_buildx.bake.inputs import TargetInputs
from ci_buildx.errors import InputError

CONTEXT = DefinitionContext(builtins={}, given={}, env={}, cwd=Path("/"))


@pytest.mark.parametrize(
    ("text", "mode", "parallel"),
    [
        ("", FailureMode.FAIL_FAST, 0),
        ("3", FailureMode.FAIL_FAST, 3),
        ("defer-error", FailureMode.DEFER_ERROR, 0),
        ("mode=defer-output", FailureMode.DEFER_OUTPUT, 0),
        (" defer-error , parallel=2 ", FailureMode.DEFER_ERROR, 2),
    ],
)
def test_jobs_are_a_number_or_a_mode(text: str, mode: FailureMode, parallel: int) -> None:
    assert parse_jobs(text) == TargetExecution(mode=mode, parallel=parallel)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast", 'invalid jobs mode "fast"'),
        ("-1", "must be a non-negative integer"),
        ("parallel=x", "must be a non-negative integer"),
        ("2,parallel=3", "unknown|invalid jobs mode"),
        ("parallel=2,parallel=3", 'duplicate jobs option "parallel"'),
        ("workers=2", 'unknown jobs option "workers"'),
    ],
)
def test_other_jobs_are_errors(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_jobs(text)


def test_the_definition_of_a_stranger_makes_no_million_targets() -> None:
    text = 'target "a" {\n matrix = { x = range(0, 1000), y = range(0, 1000) }\n name = "a${x}-${y}"\n}\n'
    with pytest.raises(InputError, match="matrix must not make more than 10000 targets"):
        load_definition([DefinitionFile(name="docker-bake.hcl", text=text)], CONTEXT)


def test_a_sum_of_ten_thousand_numbers_is_refused() -> None:
    text = 'target "a" {\n args = { X = ' + "+".join(["1"] * 10_000) + " }\n}\n"
    with pytest.raises(InputError, match=r"docker-bake\.hcl: .*nested too deeply"):
        load_definition([DefinitionFile(name="docker-bake.hcl", text=text)], CONTEXT)


def test_a_limit_is_not_for_linked_targets_nor_for_deferred_output() -> None:
    with pytest.raises(InputError, match="limited parallelism is not supported with linked targets"):
        TargetExecution(parallel=1).check(2, linked=True)
    with pytest.raises(InputError, match="unlimited"):
        TargetExecution(mode=FailureMode.DEFER_OUTPUT, parallel=1).check(2, linked=False)
    TargetExecution(parallel=2).check(2, linked=True)


def make_inputs(**fields: object) -> TargetInputs:
    """A target that asks for something."""
    return TargetInputs(name="app", description="", values={}, **fields)  # type: ignore[arg-type]


def request(target: TargetInputs, granted: entitlements.Entitlements, cwd: Path) -> entitlements.PrivilegeRequest:
    """What has to be asked."""
    from ci_buildx.bake.overrides import AllowedPaths

    allowed = entitlements.grant_paths(granted, AllowedPaths(), cwd)
    return entitlements.make_request(entitlements.find_missing([target], allowed, cwd), cwd)


def test_files_of_the_working_directory_need_no_grant(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    target = make_inputs(read_paths=("src", "src/Dockerfile"), written_paths=("out/deep",))
    assert request(target, entitlements.parse_entitlements([]), tmp_path).is_empty


def test_a_file_elsewhere_is_asked_for_once_by_its_outermost_folder(tmp_path: Path) -> None:
    cwd, outside = tmp_path / "cwd", tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    cwd.mkdir()
    target = make_inputs(read_paths=(str(outside), str(outside / "deep"), "../outside/deep"))
    asked = request(target, entitlements.parse_entitlements([]), cwd)
    assert asked.all_flags == "--allow=fs.read=../outside"
    assert request(target, entitlements.parse_entitlements(["fs.read=../outside"]), cwd).is_empty
    assert request(target, entitlements.parse_entitlements(["fs=*"]), cwd).is_empty


def test_a_link_out_of_the_working_directory_is_seen(tmp_path: Path) -> None:
    cwd, outside = tmp_path / "cwd", tmp_path / "outside"
    outside.mkdir()
    cwd.mkdir()
    (cwd / "link").symlink_to(outside)
    asked = request(make_inputs(read_paths=("link",)), entitlements.parse_entitlements([]), cwd)
    assert asked.file_flags == ("fs.read=../outside",)


def test_privileges_are_asked_for_by_name(tmp_path: Path) -> None:
    target = make_inputs(entitlements=("network.host", "security.insecure"), uses_agent=True, deletes=True)
    asked = request(target, entitlements.parse_entitlements([]), tmp_path)
    flags = set(asked.all_flags.split())
    assert {"--allow=network.host", "--allow=security.insecure", "--allow=ssh"} <= flags
    granted = entitlements.parse_entitlements(["network.host", "security.insecure", "ssh", "buildx.local.delete"])
    left = request(target, granted, tmp_path)
    assert left.is_empty


def test_the_check_of_files_can_be_turned_off_but_not_that_of_privileges(tmp_path: Path) -> None:
    target = make_inputs(entitlements=("network.host",), read_paths=("/",))
    asked = request(target, entitlements.parse_entitlements([]), tmp_path)
    kept = entitlements.drop_unchecked(asked, {entitlements.CHECKED: "0"}, remote=False)
    assert kept.file_flags == ()
    assert kept.flags == ("network.host",)


def test_an_unknown_entitlement_is_an_error() -> None:
    with pytest.raises(InputError, match='unknown entitlement key "nope"'):
        entitlements.parse_entitlements(["nope"])
