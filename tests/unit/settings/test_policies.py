"""`--policy` as buildx 0.38.2 reads it; what would need Rego is refused."""

from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.options import BY_NAME
from ci_buildx.settings.raw_values import Value

JSON = "write the policy as JSON and name its file in EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A context with a Dockerfile and a policy beside it."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "Dockerfile.rego").write_text("package docker\n")
    return tmp_path


def build(app: Path, *policies: str) -> str:
    """Why the settings are refused, "" if they are not."""
    values: dict[str, Value] = {"context": ".", "policy": list(policies)}
    try:
        make_settings(values, {name: BY_NAME[name].flag for name in values}, {}, app)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("policies", [("disabled=true",), ("reset=true",), ("strict=true", "reset=1,log-level=debug")])
def test_the_policy_beside_the_dockerfile_may_be_dropped(app: Path, policies: tuple[str, ...]) -> None:
    assert build(app, *policies) == ""


@pytest.mark.parametrize("policies", [(), ("strict=true",), ("disabled=false",), ("reset=false", "log-level=debug")])
def test_otherwise_it_counts(app: Path, policies: tuple[str, ...]) -> None:
    said = "Dockerfile.rego is a Rego policy, which only docker buildx enforces; "
    assert build(app, *policies).endswith(f"{said}{JSON}, or build without it: --policy disabled=true")


@pytest.mark.parametrize("target", ["nowhere", "Dockerfile.rego", "sub"], ids=["nowhere", "circle", "folder"])
def test_a_link_of_its_name_counts(app: Path, target: str) -> None:
    (app / "sub").mkdir()
    (app / "Dockerfile.rego").unlink()
    (app / "Dockerfile.rego").symlink_to(target)
    assert "Dockerfile.rego is a Rego policy, which only docker buildx enforces" in build(app)
    assert build(app, "disabled=true") == ""


def test_how_policies_are_run_is_of_no_meaning_without_one(app: Path) -> None:
    (app / "Dockerfile.rego").unlink()
    assert build(app, "strict=true,log-level=info") == ""


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (["filename=x.rego"], f"Rego is not supported; only docker buildx evaluates 'x.rego'; {JSON}"),
        (["reset=true,filename=x.rego"], f"Rego is not supported; only docker buildx evaluates 'x.rego'; {JSON}"),
        (
            ["disabled=true,strict=true"],
            "disabled=true cannot be combined with other keys or policies; omit the others, or omit disabled=true",
        ),
        (
            ["disabled=true", "reset=true"],
            "disabled=true cannot be combined with other keys or policies; omit the others, or omit disabled=true",
        ),
        (["disable=true"], "unknown key 'disable'; did you mean 'disabled'?"),
        (["x.rego"], "'x.rego' is not key=value; write disabled=true or reset=true"),
    ],
)
def test_refused(app: Path, policies: list[str], said: str) -> None:
    assert build(app, *policies) == f"--policy: {said}"


def test_disabled_is_true_or_false(app: Path) -> None:
    assert build(app, "disabled=maybe") == "--policy disabled: 'maybe' is neither true nor false; write true or false"
