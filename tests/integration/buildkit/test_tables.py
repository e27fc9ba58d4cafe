"""The tables of attributes and variables have every name that buildx's and BuildKit's own sources have.

The sources are those from which the devcluster's programs are built; only names are compared.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from ci_buildx.settings import attribute_table
from ci_buildx.settings.attribute_table import OutputAttribute
from ci_buildx.settings.docker_variables import VARIABLES
from devcluster import programs, toolchain

BUILDX, BUILDKIT = "github.com/docker/buildx", "github.com/moby/buildkit"
_NAME = re.compile(r'^\s*(?:\w+\s+)?(?:OptKey|key|attr|attribute)\w*(?:\s+ImageExporterOptKey)?\s*=\s*"([^"]+)"', re.M)
_READ = re.compile(r'(?:Getenv|LookupEnv)\(\s*(?:"([A-Z][A-Z0-9_]+)"|(\w+)\s*\))')
_CONSTANT = re.compile(r'^\s*(?:const\s+|var\s+)?(\w+)\s*(?:string\s*)?=\s*"([A-Z][A-Z0-9_]+)"', re.M)

NOT_OF_USERS = re.compile(
    r"(TEST_|GITHUB_|RUNNER_|ACTIONS_|SUDO_|GO_TEST|BUILDKIT_TEST|DOCKER_CLI_PLUGIN|WSL_).*|PATH|KUBECONFIG|BAKE_.*"
)
"""Variables of tests, of CI systems, of docker's plugin mechanism and of other programs."""


@pytest.fixture(scope="module")
def sources() -> dict[str, Path]:
    """Folders of the two modules in Go's cache."""
    done = subprocess.run(
        [toolchain.go(), "mod", "download", "-json", BUILDX, BUILDKIT],
        cwd=programs.MODULES / "containers",
        capture_output=True,
        text=True,
        check=True,
    )
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), {}
    while text:
        module, end = decoder.raw_decode(text)
        found[module["Path"]], text = Path(module["Dir"]), text[end:].strip()
    return found


FILES = {
    ("output", "image"): ("exporter/containerimage/exptypes/keys.go", "util/compression/attrs.go"),
    ("output", "registry"): ("exporter/containerimage/exptypes/keys.go", "util/compression/attrs.go"),
    ("output", "oci"): ("exporter/oci/export.go", "util/compression/attrs.go"),
    ("output", "docker"): ("exporter/oci/export.go", "util/compression/attrs.go"),
    ("output", "local"): ("exporter/local/fs.go",),
    ("output", "tar"): ("exporter/local/fs.go",),
    **{
        ("cache", kind): (f"cache/remotecache/{kind}",)
        for kind in ("registry", "local", "inline", "gha", "s3", "azblob")
    },
}
ONLY_OF_FOLDERS = {("output", "tar"): {"mode"}}
"""The exporters of folders and archives share their source."""


@pytest.mark.parametrize("kind", FILES, ids="-".join)
def test_every_attribute_of_buildkit_is_in_the_table(kind: tuple[str, str], sources: dict[str, Path]) -> None:
    texts = read_sources(sources[BUILDKIT] / file for file in FILES[kind])
    names = {name for text in texts for name in _NAME.findall(text)} - ONLY_OF_FOLDERS.get(kind, set())
    tables = (
        [attribute_table.OUTPUTS]
        if kind[0] == "output"
        else [attribute_table.CACHE_EXPORTS, attribute_table.CACHE_IMPORTS]
    )
    known = list_names(attribute for table in tables for attribute in table[kind[1]])
    assert names - known == set()
    assert names or kind[1] == "inline", "the sources name their attributes in another way"


def list_names(attributes: Iterable[OutputAttribute]) -> set[str]:
    return {attribute.name for attribute in attributes}


def read_sources(places: Iterable[Path]) -> list[str]:
    files = [file for place in places for file in (sorted(place.rglob("*.go")) if place.is_dir() else [place])]
    return [file.read_text() for file in files if not file.name.endswith("_test.go")]


def test_every_variable_of_buildx_is_in_the_table(sources: dict[str, Path]) -> None:
    texts = read_sources([sources[BUILDX]])
    constants = {name: value for text in texts for name, value in _CONSTANT.findall(text)}
    read = {plain or constants.get(name, "") for text in texts for plain, name in _READ.findall(text)} - {""}
    assert {"BUILDX_CONFIG", "BUILDX_NO_DEFAULT_ATTESTATIONS", "BUILDX_NO_DEFAULT_OCI_ARTIFACT"} <= read
    known = {variable.name for variable in VARIABLES}
    patterns = tuple(name.removesuffix("*") for name in known if name.endswith("*"))
    missing = {name for name in read - known if not name.startswith(patterns) and not NOT_OF_USERS.fullmatch(name)}
    assert missing == set()
