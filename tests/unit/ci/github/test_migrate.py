"""Workflows with docker's actions: what each step becomes, and that nothing is lost in silence."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.ci.github.migrate import migrate_workflow
from ci_buildx.ci.gitlab.migrate import migrate_pipeline
from ci_buildx.ci.migration.report import MigrationVerdict, format_report
from ci_buildx.cli import migrate as verb
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from tests.unit.ci.github.workflows import (
    BUILD,
    BUILDX,
    LOGIN,
    META,
    OF_META,
    QEMU,
    list_notes,
    list_uses,
    migrate,
    read_steps,
)

ROOT = Path(__file__).parents[4]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def test_the_page_shows_what_is_printed() -> None:
    page = (ROOT / "docs" / "migrating" / "migrate.md").read_text()
    before, after, pipeline, includes = BLOCK.findall(page)
    migrated = migrate_workflow(before, source="image.yml")
    assert migrated.text == after
    assert f"```\n{format_report('image.yml', migrated)}```" in page
    assert migrate_pipeline(pipeline, source="g").text == includes


def test_comments_and_layout_stay() -> None:
    steps = f"      # first\n      - run: 'a'   # keep\n\n{BUILD.replace('@v7', '@v7.1.0  # v7.1.0')}      # last\n"
    migrated = migrate(steps)
    assert "      # first\n      - run: 'a'   # keep\n\n" in migrated.text
    assert "uses: org/kube-builder@v1\n" in migrated.text
    assert migrated.text.endswith("          tags: r.example/a:1\n      # last\n")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_breaks_stay(newline: str) -> None:
    text = f"jobs:\n  a:\n    steps:\n{META}{OF_META}".replace("\n", newline)
    migrated = migrate_workflow(text, source="w.yml").text
    assert migrated.count("\n") == migrated.count(newline)
    assert "images: r.example/a" in migrated


def test_five_steps_become_one() -> None:
    migrated = migrate(META, LOGIN, QEMU, BUILDX, OF_META)
    (step,) = read_steps(migrated)
    assert step["with"] == {
        "kubeconfig": "${{ secrets.KUBECONFIG }}",
        "images": "r.example/a",
        "context": ".",
        "push": True,
        "username": "me",
        "password": "${{ secrets.P }}",
    }
    assert not migrated.needs_hand


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("      - run: echo ${{ steps.meta.outputs.version }}\n", "line 17 uses its results"),
        ("      - run: echo ${{ steps['meta'].outcome }}\n", "line 17 uses its results"),
        ("      - run: echo $DOCKER_METADATA_OUTPUT_JSON\n", "variables are used"),
    ],
)
def test_metadata_that_others_use_stays(after: str, reason: str) -> None:
    migrated = migrate(META, BUILDX, OF_META, after)
    assert list_uses(migrated)[:2] == ["docker/metadata-action", "org/kube-builder"]
    assert "${{ steps.meta.outputs.tags }}" in migrated.text
    assert reason in list_notes(migrated, MigrationVerdict.LEFT)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (f"{OF_META}          build-args: V=${{{{ steps.meta.outputs.version }}}}\n", "uses its results"),
        (OF_META.replace("outputs.tags }}", "outputs.tags }},x:1"), "no build uses its tags unchanged"),
        (OF_META.replace("          labels: ${{ steps.meta.outputs.labels }}\n", ""), "does not use its labels"),
        (
            OF_META.replace("tags: ${{ steps.meta.outputs.tags }}", "outputs: type=image,push-by-digest=true"),
            "no build",
        ),
        (f"{OF_META}          annotations: ${{{{ steps.meta.outputs.annotations }}}}\n", "annotations"),
    ],
)
def test_metadata_that_a_build_uses_otherwise_stays(build: str, reason: str) -> None:
    migrated = migrate(META, build)
    assert "docker/metadata-action" in list_uses(migrated)
    assert "images" not in read_steps(migrated)[-1]["with"]
    assert reason in list_notes(migrated, MigrationVerdict.LEFT)


def test_metadata_whose_build_adds_to_it() -> None:
    meta = f"{META}          labels: x=1\n          tags: |\n            # why\n            type=sha\n"
    build = OF_META.replace(
        "tags: ${{ steps.meta.outputs.tags }}", "tags: |\n            ${{ steps.meta.outputs.tags }}\n            b:2"
    )
    build = build.replace(
        "labels: ${{ steps.meta.outputs.labels }}",
        "labels: |\n            ${{ steps.meta.outputs.labels }}\n            y=2",
    )
    (step,) = read_steps(migrate(meta, build))
    assert step["with"]["tags"] == "b:2"
    assert step["with"]["labels"].split() == ["x=1", "y=2"]
    assert step["with"]["tag-rules"] == "# why\ntype=sha\n"


def test_env_of_folded_steps_moves() -> None:
    meta = f"{META}        env:\n          DOCKER_METADATA_PR_HEAD_SHA: true\n"
    (step,) = read_steps(migrate(meta, OF_META))
    assert step["env"] == {"DOCKER_METADATA_PR_HEAD_SHA": True}


@pytest.mark.parametrize(
    ("login", "after", "reason"),
    [
        (LOGIN, "      - run: cosign sign x\n", "line 15 (run '') may need it"),
        (LOGIN, "      - uses: some/action@v1\n", "(some/action) may need it"),
        (
            LOGIN.replace("        with", "        if: github.ref == 'x'\n        with"),
            "",
            "its condition is not the build's",
        ),
        (f"{LOGIN}{LOGIN}".replace("${{ secrets.P }}", "x${{ secrets.P }}"), "", "several logins"),
        (
            f"{LOGIN}          logout: false\n{LOGIN}          logout: false\n",
            "",
            "several logins, and this one has logout",
        ),
        (f"{LOGIN}        env:\n          A: b\n", "", "it sets env"),
    ],
)
def test_a_login_that_others_need_stays(login: str, after: str, reason: str) -> None:
    migrated = migrate(login, BUILD, after)
    assert "docker/login-action" in list_uses(migrated)
    assert "username" not in next(
        step["with"] for step in read_steps(migrated) if "kube-builder" in step.get("uses", "")
    )
    assert reason in list_notes(migrated, MigrationVerdict.LEFT)


def test_several_logins_become_a_list() -> None:
    other = LOGIN.replace("username", "registry: r.example\n          username").replace(
        "secrets.P", "env.A || 'it''s'"
    )
    (step,) = read_steps(migrate(LOGIN, other, BUILD))
    assert step["with"]["registries"].splitlines() == [
        "- username: me",
        "  password: ${{ toJSON(secrets.P) }}",
        "- registry: r.example",
        "  username: me",
        "  password: ${{ toJSON(env.A || 'it''s') }}",
    ]
    kept = LOGIN.replace("        with", "        if: github.ref == 'x'\n        with")
    login, build = read_steps(migrate(kept, LOGIN, BUILD))
    assert "docker/login-action" in login["uses"]
    assert build["with"]["username"] == "me"


def test_a_login_keeps_logout() -> None:
    (step,) = read_steps(migrate(f"{LOGIN}          logout: false\n", BUILD))
    assert step["with"]["logout"] is False


def test_several_builds_share_a_builder_with_all_platforms() -> None:
    first = (
        f"{BUILD}          platforms: linux/amd64,linux/arm64\n          builder: ${{{{ steps.bx.outputs.name }}}}\n"
    )
    given = "driver-opts: |\n            image=x:1\n            network=host\n          version: 1"
    buildx = f"{BUILDX}        id: bx\n        with:\n          {given}\n"
    migrated = migrate(buildx, first, BUILD)
    setup, one, two = read_steps(migrated)
    assert setup == {
        "uses": "org/kube-builder/setup@v1",
        "id": "bx",
        "with": {
            "kubeconfig": "${{ secrets.KUBECONFIG }}",
            "platforms": "linux/amd64,linux/arm64",
            "driver-opts": "image=x:1",
        },
    }
    assert not {"builder", "kubeconfig"} & (one["with"].keys() | two["with"].keys())
    assert two["with"]["platforms"] == "linux/amd64"
    changed = list_notes(migrated, MigrationVerdict.CHANGED)
    assert "driver-opt network=host is removed" in changed
    assert "version is removed" in changed


def test_a_shared_builder_needs_its_platforms_before_the_builds() -> None:
    late = f"      - run: x\n        id: late\n{BUILD}          platforms: ${{{{ steps.late.outputs.p }}}}\n"
    migrated = migrate(BUILDX, late, BUILD)
    assert list_uses(migrated) == ["docker/setup-buildx-action", "x", "org/kube-builder", "org/kube-builder"]
    assert all("kubeconfig" in step["with"] for step in read_steps(migrated)[2:])


def test_inputs_of_the_builder_move_to_a_single_build() -> None:
    given = "driver: docker-container\n          config-inline: |\n            [worker]\n              max = 4"
    buildx = f"{BUILDX}        with:\n          {given}\n"
    migrated = migrate(buildx, BUILD)
    (step,) = read_steps(migrated)
    assert step["with"]["buildkitd-config-inline"] == "[worker]\n  max = 4\n"
    assert "driver docker-container is removed" in list_notes(migrated, MigrationVerdict.CHANGED)


@pytest.mark.parametrize(
    ("other", "left"),
    [
        ("      - run: docker buildx imagetools inspect x\n", {"setup-buildx", "setup-qemu"}),
        ("      - uses: docker/bake-action@v7\n", set()),
        ("      - uses: docker/bake-action@v7\n        with: {x: y}\n", {"setup-buildx", "setup-qemu"}),
        ("      - uses: ./.github/actions/x\n", {"setup-buildx", "setup-qemu"}),
        ("      - run: docker run --platform linux/arm64 x\n", {"setup-qemu"}),
        ("      - run: echo done\n", set()),
    ],
)
def test_what_others_need_stays(other: str, left: set[str]) -> None:
    found = list_uses(migrate(QEMU, BUILDX, BUILD, other))
    assert {name for name in ("setup-buildx", "setup-qemu") if f"docker/{name}-action" in found} == left


@pytest.mark.parametrize(
    ("step", "verdict", "text"),
    [
        (
            "      - uses: docker/bake-action@v7\n        with:\n          x: y\n",
            MigrationVerdict.BY_HAND,
            "bake-action stays: input x is unknown",
        ),
        (
            "      - run: |\n          true\n          docker build -t x .\n",
            MigrationVerdict.BY_HAND,
            "a script builds or pushes with docker",
        ),
        (
            "      - uses: depot/build-push-action@v1\n",
            MigrationVerdict.BY_HAND,
            "depot/build-push-action builds images",
        ),
        ("      - uses: ./actions/build\n", MigrationVerdict.LEFT, "./actions/build is a local action"),
        (META, MigrationVerdict.LEFT, "metadata-action stays"),
        (LOGIN, MigrationVerdict.LEFT, "login-action stays"),
        (BUILDX, MigrationVerdict.LEFT, "setup-buildx-action stays"),
    ],
)
def test_a_job_without_a_build_does_not_change(step: str, verdict: MigrationVerdict, text: str) -> None:
    migrated = migrate(step)
    assert migrated.text.endswith(step)
    assert text in list_notes(migrated, verdict)
    assert "kube-builder/setup" not in migrated.text


@pytest.mark.parametrize(
    ("build", "head", "job", "reason"),
    [
        (BUILD.replace("r.example", "localhost:5000"), "", "", "localhost:5000 is on the runner"),
        (
            BUILD.replace("r.example", "${{ env.R }}"),
            "env:\n  R: 127.0.0.1:5000\n",
            "",
            "127.0.0.1:5000 is on the runner",
        ),
        (BUILD, "", "    services:\n      reg:\n        image: registry:2\n", "service reg is on the runner"),
        (f"{BUILD}          repository: x\n", "", "", "input repository is unknown"),
        (BUILD.replace("with:", "with: &x"), "", "", "YAML anchors"),
    ],
)
def test_a_build_that_cannot_be_replaced_stays(build: str, head: str, job: str, reason: str) -> None:
    migrated = migrate(BUILDX, build, head=head, job=job)
    assert list_uses(migrated) == ["docker/setup-buildx-action", "docker/build-push-action"]
    assert reason in list_notes(migrated, MigrationVerdict.BY_HAND)


def test_windows_stays() -> None:
    text = f"jobs:\n  a:\n    runs-on: windows-2022\n    steps:\n{BUILD}"
    migrated = migrate_workflow(text, source="w.yml")
    assert migrated.text == text
    assert migrated.needs_hand


def test_the_docker_driver_loads_images() -> None:
    build = BUILD.replace("          push: true\n", "")
    (step, _) = read_steps(migrate(build, "      - run: docker run r.example/a:1\n"))
    assert step["with"]["load"] is True
    (step, _) = read_steps(migrate(BUILDX, build, "      - run: docker run r.example/a:1\n"))
    assert "load" not in step["with"]


def test_steps_that_work_on_the_builder_are_said() -> None:
    work = "      - run: docker cp x ${{ steps.bx.outputs.name }}:/\n"
    migrated = migrate(f"{BUILDX}        id: bx\n", work, BUILD)
    assert "works on setup-buildx-action's builder" in list_notes(migrated, MigrationVerdict.BY_HAND)
    echo = migrate(f"{BUILDX}        id: bx\n", "      - run: echo ${{ steps.bx.outputs.platforms }}\n", BUILD)
    assert not echo.needs_hand


def test_flow_style_is_read() -> None:
    migrated = migrate(
        "      - uses: docker/build-push-action@v7\n        with: {context: ., tags: 'a:1', push: true}\n"
    )
    (step,) = read_steps(migrated)
    assert step["with"] == {"kubeconfig": "${{ secrets.KUBECONFIG }}", "context": ".", "tags": "a:1", "push": True}
    text = "jobs:\n  a:\n    steps: [{uses: docker/build-push-action@v7}]\n"
    whole = migrate_workflow(text, source="w.yml")
    assert whole.text == text
    assert "block style" in list_notes(whole, MigrationVerdict.BY_HAND)


@pytest.mark.parametrize(
    "text",
    [
        f"jobs:\n  a:\n    steps: &s\n{BUILD}  b:\n    steps: *s\n",
        f"jobs:\n  a: &j\n    steps:\n{BUILD}  b: *j\n",
        f"jobs:\n  a: &j\n    steps:\n{BUILD}  b:\n    <<: *j\n",
        "x: &i\n  push: true\njobs:\n  a:\n    steps:\n      - uses: docker/build-push-action@v7\n        with: *i\n",
        f"x: &i {{push: true}}\njobs:\n  a:\n    steps:\n{BUILD}          <<: *i\n",
    ],
)
def test_anchors_keep_their_places(text: str) -> None:
    migrated = migrate_workflow(text, source="w.yml")
    assert migrated.text == text
    assert migrated.needs_hand


def test_a_build_without_inputs() -> None:
    (step,) = read_steps(migrate("      - uses: docker/build-push-action@v7"))
    assert step["with"] == {"kubeconfig": "${{ secrets.KUBECONFIG }}"}


def test_a_dash_on_its_own_line() -> None:
    build = BUILD.replace("      - uses", "      -\n        name: b\n        uses")
    (step,) = read_steps(migrate(BUILDX.replace("- uses", "-\n        uses"), build))
    assert step["uses"] == "org/kube-builder@v1"


def test_dockers_reusable_workflow_has_a_page() -> None:
    text = "on: push\njobs:\n  a:\n    uses: docker/github-builder/.github/workflows/build.yml@v1\n"
    notes = list_notes(migrate_workflow(text, source="w.yml"), MigrationVerdict.BY_HAND)
    assert "write the job as steps: docs/migrating/migrate.md has the inputs" in notes


def test_composite_actions_and_reusable_workflows() -> None:
    action = f"name: x\nruns:\n  using: composite\n  steps:\n{BUILD}"
    migrated = migrate_workflow(action, source="action.yml")
    assert "kubeconfig" not in migrated.text
    assert "KUBE_BUILDER_KUBECONFIG" in list_notes(migrated, MigrationVerdict.BY_HAND)
    text = f"on:\n  workflow_call:\njobs:\n  a:\n    steps:\n{BUILD}  b:\n    uses: ./.github/workflows/b.yml\n"
    called = migrate_workflow(text, source="w.yml")
    assert "secrets: inherit" in list_notes(called, MigrationVerdict.BY_HAND)
    assert "calls ./.github/workflows/b.yml" in list_notes(called, MigrationVerdict.LEFT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: [", "w.yml: is not valid YAML at line 1"),
        ("jobs:\n\ta: b\n", "w.yml: is not valid YAML at line 2"),
        ("a: b", "w.yml: has no jobs"),
        ("", "w.yml: has no jobs"),
        ("- a", "w.yml: has no jobs"),
        ("a: b\n---\nc: d", "w.yml: is not valid YAML at line 2"),
        ("[" * 5000, "w.yml: is not valid YAML"),
        ("a: \x00", "w.yml: is not valid YAML"),
        ("#" * (1 << 21), "w.yml: is larger than 1 MiB"),
        ("a: &a [*a]", "w.yml: is not valid YAML"),
        (
            "a: &a [x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1 or '')] * 9)}]\n" for n in range(1, 9)),
            "w.yml: is not",
        ),
    ],
)
def test_what_is_not_a_workflow_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        migrate_workflow(text, source="w.yml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


VALUES = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029", exclude_categories=["Cc", "Cs"]), max_size=30
)


@given(st.dictionaries(st.sampled_from(["tags", "labels", "target", "secrets", "build-args"]), VALUES))
def test_inputs_keep_their_values(inputs: Mapping[str, str]) -> None:
    steps = [
        {"uses": "docker/setup-buildx-action@v4"},
        {"uses": "docker/build-push-action@v7", "with": {"context": ".", **inputs}},
    ]
    text = yaml.safe_dump({"jobs": {"image": {"steps": steps}}}, allow_unicode=True)
    migrated = migrate_workflow(text, source="w.yml")
    step = read_steps(migrated)[-1]
    assert {name: step["with"].get(name) for name in inputs} == dict(inputs)


@given(
    st.lists(
        st.sampled_from([META, LOGIN, QEMU, BUILDX, BUILD, OF_META, "      - run: docker ps\n"]), min_size=1, max_size=7
    )
)
def test_every_step_of_docker_is_in_the_report(steps: list[str]) -> None:
    if not any("uses: docker/" in step for step in steps):
        return
    migrated = migrate(*steps)
    yaml.safe_load(migrated.text)
    lines = {note.line for note in migrated.notes}
    number = 6
    for step in steps:
        assert number in lines or "run:" in step, step
        number += step.count("\n")


def run_verb(folder: Path, *argv: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the verb."""
    world = ProcessContext(env={}, cwd=folder, stdout=io.StringIO(), stderr=io.StringIO())
    code = verb.main(argv, world)
    return code, world.stdout.getvalue(), world.stderr.getvalue()  # type: ignore[attr-defined]


def test_the_verb(tmp_path: Path) -> None:
    text = f"jobs:\n  a:\n    steps:\n{BUILD}"
    (tmp_path / "w.yml").write_text(text)
    code, out, report = run_verb(tmp_path, "w.yml")
    assert code == 0
    assert "uses: org/kube-builder@v1" in out
    assert "w.yml:4: carried over: build-push-action" in report
    code, diff, _ = run_verb(tmp_path, "--diff", "w.yml")
    assert "-      - uses: docker/build-push-action@v7\n+      - uses: org/kube-builder@v1\n" in diff
    assert (tmp_path / "w.yml").read_text() == text
    (tmp_path / "w.yml").chmod(0o640)
    assert run_verb(tmp_path, "--write", "w.yml")[:2] == (0, "")
    assert (tmp_path / "w.yml").read_text() == out
    assert (tmp_path / "w.yml").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["w.yml"]


def test_check_ends_with_1_if_something_is_left_by_hand(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(f"jobs:\n  a:\n    steps:\n{BUILD}")
    (tmp_path / "bake.yml").write_text(
        "jobs:\n  a:\n    steps:\n      - uses: docker/bake-action@v7\n        with: {x: y}\n"
    )
    (tmp_path / "none.yml").write_text("jobs: {a: {steps: [{run: x}]}}")
    assert run_verb(tmp_path, "--check", "good.yml", "none.yml")[:2] == (0, "")
    code, out, report = run_verb(tmp_path, "--check", "good.yml", "bake.yml")
    assert (code, out) == (1, "")
    assert "bake.yml:4: by hand: bake-action stays" in report


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "missing file"),
        (["none.yml"], "none.yml: builds no images with docker or kaniko"),
        (["gone.yml"], "gone.yml: cannot be read: No such file"),
        (["latin.yml"], "latin.yml: cannot be read: not UTF-8"),
        (["latin.yml", "gone.yml"], "several files are named"),
        (["--write", "-"], "stdin cannot be changed"),
    ],
)
def test_bad_arguments(tmp_path: Path, argv: list[str], message: str) -> None:
    (tmp_path / "none.yml").write_text("jobs: {a: {steps: [{run: x}]}}")
    (tmp_path / "latin.yml").write_bytes(b"name: \xe9\n")
    with pytest.raises(InputError, match=re.escape(message)):
        run_verb(tmp_path, *argv)


def test_the_report_commands_neither_a_terminal_nor_a_runner(tmp_path: Path) -> None:
    name = '"x\\x1b]52;c;x\\x07\\n::add-mask::x https://u:hunter2hunter2@git.example"'
    (tmp_path / "w.yml").write_text(
        f"jobs:\n  a:\n    steps:\n      - name: {name}\n        uses: docker/bake-action@v7\n"
        f"{BUILD}          target: {name}\n"
    )
    code, _, report = run_verb(tmp_path, "--check", "w.yml")
    assert code in (0, 1)
    assert not set(report) & {"\x1b", "\x07"}
    assert all(line.startswith("w.yml:") for line in report.splitlines())
    assert "hunter2hunter2" not in report


def test_write_follows_no_link_that_is_in_its_way(tmp_path: Path) -> None:
    """A stranger's checkout may hold a link by the name of a temporary file, or in place of the file itself."""
    checkout, outside = tmp_path / "checkout", tmp_path / "outside.yml"
    checkout.mkdir()
    text = f"jobs:\n  a:\n    steps:\n{BUILD}"
    outside.write_text(text)
    (checkout / "w.yml").write_text(text)
    (checkout / ".w.yml.migrate").symlink_to(outside)
    assert run_verb(checkout, "--write", "w.yml")[0] == 0
    assert outside.read_text() == text != (checkout / "w.yml").read_text()
    (checkout / "link.yml").symlink_to(outside)
    env = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(checkout)}
    world = ProcessContext(env=env, cwd=checkout, stdout=io.StringIO(), stderr=io.StringIO())
    with pytest.raises(InputError, match="by a symbolic link"):
        verb.main(["--write", "link.yml"], world)
    assert outside.read_text() == text
