"""Each environment variable that docker buildx reads is in our table, or is here with the reason why it is not."""

from __future__ import annotations

import fnmatch
import re

import pytest

from bench.conformance.suite import download_module
from ci_buildx.settings.docker_variables import VARIABLES
from devcluster import programs

ELSEWHERE = {
    "ACTIONS_*": "caches of type gha: attributes of --cache-to",
    "BAKE_ALLOW_REMOTE_FS_ACCESS": "bake, an old name of BUILDX_BAKE_ENTITLEMENTS_FS",
    "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": "set by docker for its plugins, which kube-builder is not",
    "GITHUB_*": "set by GitHub's runner for jobs",
    "RUNNER_*": "set by GitHub's runner for jobs",
    "ImageOS": "set by GitHub's runner for jobs",
    "ImageVersion": "set by GitHub's runner for jobs",
    "KUBECONFIG": "option --kubeconfig",
    "SUDO_*": "the owner of buildx's own folder",
    "WSL_DISTRO_NAME": "paths of Windows",
}
IMPORTED = {"epoch.SourceDateEpochEnv": "SOURCE_DATE_EPOCH"}
"""Constants of other modules."""
NOT_NAMES = ("metadata.ReexecEnvvar",)
"""Set by docker's plugin framework."""
CALL = re.compile(r"\bos\.(?:Getenv|LookupEnv)\((?P<argument>[^()]+)\)")
CONSTANT = re.compile(r'^\s*(?:const\s+)?(?P<name>\w+)\s*=\s*"(?P<value>[A-Z][A-Z0-9_]{3,})"$', re.MULTILINE)
LITERAL = re.compile(r'"(?P<value>BUILDX_[A-Z0-9_]+)"')


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the variables that docker buildx reads."""
    module = download_module(programs.BUILDX, tmp_path_factory.mktemp("module"))
    files = [
        path.read_text()
        for path in sorted(module.rglob("*.go"))
        if not path.name.endswith("_test.go") and path.relative_to(module).parts[0] not in ("tests", "hack", "vendor")
    ]
    assert len(files) > 100, "the module is not where it was looked for"
    constants = {found["name"]: found["value"] for text in files for found in CONSTANT.finditer(text)}
    names = {found["value"] for text in files for found in LITERAL.finditer(text)}
    for text in files:
        for found in CALL.finditer(text):
            argument = found["argument"].strip()
            name = (
                argument.strip('"') if argument.startswith('"') else IMPORTED.get(argument) or constants.get(argument)
            )
            if name:
                names.add(name)
            else:
                # A key of the user's, such as a secret's id, not a name in the program.
                assert argument in NOT_NAMES or re.fullmatch(r"k|key|keys\[2\]|resolved\.ID", argument), argument
    return names


def is_named(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def test_no_variable_is_in_neither_table(read: set[str]) -> None:
    known = [one.name for one in VARIABLES] + [*ELSEWHERE]
    assert sorted(name for name in read if not is_named(name, known)) == []
    assert {"BUILDX_BUILDER", "BUILDKIT_PROGRESS", "SOURCE_DATE_EPOCH", "BUILDX_METADATA_PROVENANCE"} <= read


def test_our_tables_name_nothing_that_buildx_does_not_read(read: set[str]) -> None:
    ours = [one.name for one in VARIABLES if one.name.startswith("BUILDX_")]
    assert [name for name in ours if not any(fnmatch.fnmatchcase(one, name) for one in read)] == []
    assert [name for name in ELSEWHERE if not any(fnmatch.fnmatchcase(x, name) for x in read)] == []
