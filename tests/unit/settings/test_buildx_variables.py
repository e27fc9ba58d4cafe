"""Each of buildx's variables does what the table says, is refused, or has no effect in buildx's own build either."""

from pathlib import Path

import pytest

import ci_buildx
from ci_buildx.errors import InputError
from ci_buildx.settings import assembly
from ci_buildx.settings.docker_variables import VARIABLES, BuildxVariable, check_variables, find_daemon, read_options
from ci_buildx.settings.values import BuildSettings, MetadataProvenance, Settings


def test_what_must_be_looked_at_begins_as_the_table_is_imported_for() -> None:
    assert all(one.name.startswith(assembly._BUILDX_PREFIXES) for one in VARIABLES if one.option or one.refused)


REFUSED = [variable for variable in VARIABLES if variable.refused]
SOURCES = "\n".join(
    path.read_text() for path in Path(ci_buildx.__file__).parent.rglob("*.py") if path.name != "buildx_variables.py"
)


def settings(tmp_path: Path, *outputs: str, **env: str) -> Settings:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    values, sources = assembly.read_variables(env)
    return assembly.make_settings({"context": ".", "outputs": [*outputs], **values}, sources, env, tmp_path)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_what_the_table_says_works_is_read_somewhere(variable: BuildxVariable) -> None:
    nothing = variable.effect.startswith(("none", "refused"))
    assert nothing or variable.option or variable.name.removesuffix("*") in SOURCES or variable.name.startswith("AWS_")


@pytest.mark.parametrize("variable", REFUSED, ids=lambda variable: variable.name)
def test_what_cannot_be_done_is_refused_by_name(variable: BuildxVariable, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        settings(tmp_path, **{variable.name: "max"})
    assert str(caught.value).startswith(f"{variable.name}: 'max' is not supported")
    assert variable.refused in str(caught.value)


@pytest.mark.parametrize(
    "env",
    [
        {"BUILDX_METADATA_PROVENANCE": "disabled"},
        {"BUILDX_METADATA_PROVENANCE": "0"},
        {"BUILDX_DEFAULT_POLICY": "false"},
        {"BUILDX_CPU_PROFILE": ""},
        {"BUILDX_EXPERIMENTAL": "1", "BUILDX_BAKE_FILE": "x", "BUILDX_CONFIG": "/x"},
    ],
)
def test_what_changes_nothing_is_no_fault(env: dict[str, str]) -> None:
    check_variables(env)


def test_options_that_have_a_variable() -> None:
    env = {"BUILDX_BUILDER": "mine", "BUILDKIT_PROGRESS": "plain", "DOCKER_DEFAULT_PLATFORM": "linux/arm64"}
    values, sources = assembly.read_variables(env)
    assert values == {"builder": "mine", "progress": "plain", "platforms": "linux/arm64"}
    assert sources == {
        "builder": "BUILDX_BUILDER",
        "progress": "BUILDKIT_PROGRESS",
        "platforms": "DOCKER_DEFAULT_PLATFORM",
    }
    assert read_options({"BUILDX_BUILDER": "default"}) == {}


def test_our_own_variable_counts_more() -> None:
    values, sources = assembly.read_variables({"BUILDX_BUILDER": "theirs", "KUBE_BUILDER_BUILDER": "ours"})
    assert (values["builder"], sources["builder"]) == ("ours", "KUBE_BUILDER_BUILDER")


def test_a_wrong_value_is_told_with_its_variable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="BUILDKIT_PROGRESS: "):
        settings(tmp_path, BUILDKIT_PROGRESS="fancy")
    for name in ("BUILDX_NO_DEFAULT_OCI_ARTIFACT", "BUILDX_NO_DEFAULT_ATTESTATIONS"):
        with pytest.raises(InputError, match=f"{name}: 'maybe' is neither true nor false"):
            settings(tmp_path, **{name: "maybe"})


def test_attestations_as_image_manifests(tmp_path: Path) -> None:
    assert settings(tmp_path).build.oci_artifact
    assert not settings(tmp_path, BUILDX_NO_DEFAULT_OCI_ARTIFACT="true").build.oci_artifact


@pytest.mark.parametrize(
    ("value", "written", "wanted"),
    [
        ("", True, MetadataProvenance.MIN),
        ("", False, None),
        ("min", False, MetadataProvenance.MIN),
        ("max", True, MetadataProvenance.MAX),
        ("other", True, MetadataProvenance.MIN),
        ("disabled", True, None),
        ("0", True, None),
    ],
)
def test_provenance_of_the_metadata(
    value: str, written: bool, wanted: MetadataProvenance | None, tmp_path: Path
) -> None:
    file = {"KUBE_BUILDER_METADATA_FILE": str(tmp_path / "md.json")} if written else {}
    assert settings(tmp_path, BUILDX_METADATA_PROVENANCE=value, **file).build.metadata_provenance is wanted


def test_no_default_load(tmp_path: Path) -> None:
    build = BuildSettings(context=tmp_path, dockerfile=None)
    assert assembly.add_default_load(build, {"BUILDX_NO_DEFAULT_LOAD": "1"}, source="x") is build


def test_contexts_of_docker_are_not_read() -> None:
    with pytest.raises(InputError, match="DOCKER_CONTEXT is 'far'; set DOCKER_HOST"):
        find_daemon({"DOCKER_CONTEXT": "far"}, source="--load")
    daemon = find_daemon({"DOCKER_CONTEXT": "far", "DOCKER_HOST": "tcp://h:1"}, source="--load")
    assert (daemon.host, daemon.port) == ("h", 1)


def test_what_lets_a_folder_be_cleared_is_not_for_steps(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    values: dict[str, assembly.Value] = {
        "context": ".",
        "outputs": ["type=local,dest=.,mode=delete"],
        "allow": ["buildx.local.delete", "network.host"],
    }
    made = assembly.make_settings(values, {}, {}, tmp_path)
    assert made.build.entitlements == ("network.host",)
    assert "buildx" not in " ".join(made.builder.buildkitd_flags)
