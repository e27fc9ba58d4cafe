"""A build's sticky key is the same from commit to commit, from runner to runner, and for folder and git context."""

from pathlib import Path

import pytest

from ci_buildx.build.context import sticky_key
from ci_buildx.model import platform
from ci_buildx.settings import names as settings_sticky_key
from ci_buildx.settings.names import StickyKey
from ci_buildx.settings.values import BuildSettings, Settings
from tests.unit.fsutil.repositories import Repository

COMMIT = "6e3f2a0c5d1b4e7f8a9b0c1d2e3f4a5b6c7d8e9f"
AMD64, ARM64 = platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64")


def build(context: Path | str, **more: object) -> BuildSettings:
    return BuildSettings(context=context, dockerfile=None, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "repo", "path"),
    [
        (f"https://git.example/team/app.git#{COMMIT}", "team/app", ""),
        (f"https://git.example/team/app.git#{COMMIT}:services/api", "team/app", "services/api"),
        (f"https://git.example/team/app.git#{COMMIT}:./services//api/", "team/app", "services/api"),
        ("https://git.example/team/app.git#refs/pull/7/merge", "team/app", ""),
        (
            f"https://git.example/team/app.git?ref=main&checksum={COMMIT}&subdir=services%2Fapi",
            "team/app",
            "services/api",
        ),
        ("https://user:token@git.example:8443/team/app.git", "team/app", ""),
        ("https://git.example/group/sub%20group/app.git", "group/sub group/app", ""),
        ("ssh://git@git.example:2222/team/app.git#main", "team/app", ""),
        ("ssh://git@git.example/~me/app", "~me/app", ""),
        ("git@git.example:team/app.git#main:api", "team/app", "api"),
        ("git://git.example/team/app", "team/app", ""),
        ("github.com/team/app", "team/app", ""),
        ("https://[2001:db8::1]:8080/team/app.git", "team/app", ""),
        ("https://git.example/.git", "git.example", ""),
    ],
)
def test_a_git_context_is_known_by_its_repository_and_folder(url: str, repo: str, path: str) -> None:
    assert sticky_key.find_place(build(url), {"GITHUB_REPOSITORY": "another/one"}) == (repo, path)


@pytest.mark.parametrize(
    "variables", [("GITHUB_REPOSITORY", "GITHUB_WORKSPACE"), ("CI_PROJECT_PATH", "CI_PROJECT_DIR")]
)
def test_a_checkout_is_known_by_the_ci_systems_name_wherever_it_lies(
    variables: tuple[str, str], tmp_path: Path
) -> None:
    for runner in ("one", "two"):
        folder = tmp_path / runner / "work" / "app"
        (folder / "services" / "api").mkdir(parents=True)
        env = dict(zip(variables, ("team/app", str(folder)), strict=True))
        assert sticky_key.find_place(build(folder), env) == ("team/app", "")
        assert sticky_key.find_place(build(folder / "services" / "api"), env) == ("team/app", "services/api")


def test_elsewhere_a_checkout_is_known_by_its_remote(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "somewhere")
    (repository.folder / "api").mkdir()
    assert sticky_key.find_place(build(repository.folder / "api"), {}) == ("somewhere", "api")
    repository.git("remote", "add", "origin", "git@git.example:team/app.git")
    assert sticky_key.find_place(build(repository.folder / "api"), {}) == ("team/app", "api")
    # Another repository that the CI job has cloned beside its own.
    other = {"GITHUB_REPOSITORY": "team/other", "GITHUB_WORKSPACE": str(tmp_path / "other")}
    assert sticky_key.find_place(build(repository.folder), other) == ("team/app", "")


def test_what_is_in_no_repository_stands_for_itself(tmp_path: Path) -> None:
    assert sticky_key.find_place(build(tmp_path), {}) == (str(tmp_path.resolve()).strip("/"), "")
    tarball = build("https://files.example/app-1.tar.gz?token=x")
    assert sticky_key.find_place(tarball, {}) == ("app-1.tar.gz", "")
    assert sticky_key.find_place(tarball, {"GITHUB_REPOSITORY": "team/app"}) == ("team/app", "")
    assert sticky_key.find_place(build("-"), {"CI_PROJECT_PATH": "team/app"}) == ("team/app", "")
    assert sticky_key.find_place(build("-"), {}) == ("", "")


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (settings_sticky_key.DEFAULT_STICKY_KEY, "team/app/api"),
        ("{repo}", "team/app"),
        ("{repo}:{target}@{platform}", "team/app:release@linux/amd64,linux/arm64"),
        ("{image}", "registry.example/team/app"),
        ("ci/{path}", "ci/api"),
    ],
)
def test_the_template_says_which_builds_belong_together(template: str, key: str) -> None:
    settings = Settings(
        build=build(
            f"https://git.example/team/app.git#{COMMIT}:api", target="release", tags=("registry.example/team/app:1",)
        ),
        sticky_key=StickyKey(template=template),
    )
    assert sticky_key.make_sticky_key(settings, (ARM64, AMD64), {}) == key


def test_the_root_of_a_repository_leaves_no_slash() -> None:
    settings = Settings(build=build("https://git.example/team/app.git"))
    assert sticky_key.make_sticky_key(settings, (), {}) == "team/app"
