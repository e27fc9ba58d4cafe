"""Everything together: raw values and their sources to settings, and what is refused in whose name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.settings.assembly import Value, make_cluster_settings, make_settings, read_namespace, read_variables
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.options import BY_NAME, OPTIONS, list_options
from ci_buildx.settings.secrets import LARGEST
from ci_buildx.settings.values import ProgressMode, Settings, TransportChoice, TypedAttributes

BIG_SECRET = (
    "--secret: secret 'x' is larger than 500 KiB; mount large files from a context: --build-context NAME=FOLDER"
)


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """The working directory: a context, a secret's file and a cache's folder."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "token").write_bytes(b"s3cret\n")
    (tmp_path / "cache").mkdir()
    return tmp_path


def make(cwd: Path, env: dict[str, str] | None = None, **values: Value) -> Settings:
    """Settings from the command line: ``build_args`` stands for the option ``build-args``."""
    named = {name.replace("_", "-"): value for name, value in values.items()}
    named.setdefault("context", "app")
    sources = {name: BY_NAME[name].flag for name in named if name in BY_NAME}
    return make_settings(named, sources, env or {}, cwd)


def refusal(cwd: Path, env: dict[str, str] | None = None, **values: Value) -> str:
    with pytest.raises(InputError) as caught:
        make(cwd, env, **values)
    return str(caught.value)


def test_defaults(cwd: Path) -> None:
    settings = make(cwd)
    assert settings.build.context == cwd / "app"
    assert settings.build.dockerfile == cwd / "app" / "Dockerfile"
    assert settings.build.provenance == "mode=min,inline-only=true"
    assert settings.builder.lifetime == 3600
    assert settings.transport is TransportChoice.AUTO
    assert not settings.keep


def test_everything_from_the_command_line(cwd: Path) -> None:
    settings = make(
        cwd,
        {"FROM_ENV": "value"},
        tags=["registry.example/app:1", "app"],
        platforms=["linux/amd64,linux/arm64"],
        push="true",
        build_args=["A=1", "FROM_ENV"],
        secrets=["id=token,src=token", "id=FROM_ENV", "id=other,env=FROM_ENV"],
        cache_from=["registry.example/cache", "type=local,src=cache"],
        cache_to=["type=inline"],
        outputs=["type=local,dest=out"],
        metadata_file="meta.json",
        progress="plain",
        driver_opts=["replicas=2"],
        namespace="ci",
        lifetime="10m",
        keep=True,
        transport="exec",
        kube_context="dev",
    )
    build = settings.build
    assert build.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert build.build_args == (("A", "1"), ("FROM_ENV", "value"))
    assert {secret.id: secret.value.reveal() for secret in build.secrets} == {
        "token": b"s3cret\n",
        "FROM_ENV": b"value",
        "other": b"value",
    }
    assert build.cache_from == (
        TypedAttributes(type="registry", attrs=(("ref", "registry.example/cache"),)),
        TypedAttributes(type="local", attrs=(("src", str(cwd / "cache")),)),
    )
    assert build.outputs == (TypedAttributes(type="local", attrs=(("dest", str(cwd / "out")),)),)
    assert (build.metadata_file, build.progress, build.push) == (cwd / "meta.json", ProgressMode.PLAIN, True)
    assert (settings.builder.replicas, settings.builder.namespace, settings.builder.lifetime) == (2, "ci", 600)
    assert (settings.keep, settings.transport, settings.cluster.context) == (True, TransportChoice.EXEC, "dev")


def test_texts_of_inputs_are_split_as_their_kind_says(cwd: Path) -> None:
    env = {
        "KUBE_BUILDER_CONTEXT": "app",
        "KUBE_BUILDER_TAGS": "app:1, app:2\napp:3",
        "KUBE_BUILDER_BUILD_ARGS": "A=1,2\nB=3",
        "KUBE_BUILDER_DRIVER_OPTS": '"nodeselector=a=b,c=d"\nreplicas=2\n',
        "KUBE_BUILDER_SECRETS": 'TOKEN=a=b,c\n"KEY=first\nsecond"\nid=file,src=token',
        "KUBE_BUILDER_PUSH": "false",
        "KUBE_BUILDER_LABELS": "",
    }
    values, sources = read_variables(env)
    assert sources["tags"] == "KUBE_BUILDER_TAGS"
    settings = make_settings(values, sources, env, cwd)
    assert settings.build.tags == ("app:1", "app:2", "app:3")
    assert settings.build.build_args == (("A", "1,2"), ("B", "3"))
    assert settings.builder.nodeselector == (("a", "b"), ("c", "d"))
    assert [(secret.id, secret.value.reveal()) for secret in settings.build.secrets] == [
        ("TOKEN", b"a=b,c"),
        ("KEY", b"first\nsecond"),
        ("file", b"s3cret\n"),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"context": "ap"}, "PATH|URL: context folder 'ap' does not exist; did you mean 'app'?"),
        (
            {"context": "token"},
            (
                "PATH|URL: context 'token' is a file, not a folder; "
                "name its folder, or pass a Dockerfile with --file (input file)"
            ),
        ),
        (
            {"context": "ftp://x/y"},
            ("PATH|URL: unknown URL scheme 'ftp' in 'ftp://x/y'; known: http, https, ssh, git"),
        ),
        (
            {"context": "cache"},
            "PATH|URL: Dockerfile 'cache/Dockerfile' does not exist; name one with --file",
        ),
        (
            {"file": "Dockerfile"},
            (
                "--file: Dockerfile 'Dockerfile' does not exist; the path is relative to the working directory: "
                "did you mean '{cwd}/app/Dockerfile'?"
            ),
        ),
        ({"file": "app/Dockerfil"}, "--file: Dockerfile 'app/Dockerfil' does not exist; found: Dockerfile"),
        (
            {"context": "-", "file": "-"},
            "--file: standard input cannot be both context and Dockerfile; name a file",
        ),
        (
            {"no_cache": True, "no_cache_filters": ["a"]},
            "--no-cache-filter: has no effect with --no-cache, which runs every stage; set only one",
        ),
        (
            {"context_mtime": "epoch"},
            "--context-mtime: SOURCE_DATE_EPOCH is not set; set SOURCE_DATE_EPOCH to seconds since 1970",
        ),
        (
            {"context_mtime": "epoch", "build_args": ["SOURCE_DATE_EPOCH=soon"]},
            (
                "--context-mtime: SOURCE_DATE_EPOCH is not a number of seconds: 'soon'; "
                "set SOURCE_DATE_EPOCH to seconds since 1970"
            ),
        ),
        ({"context_mtime": "gti"}, "--context-mtime: unknown value 'gti'; did you mean 'git'?"),
        ({"print": "plans"}, "--print: unknown value 'plans'; did you mean 'plan'?"),
        ({"push": "true"}, "--push: missing image name to push to; add a tag: registry/name:tag"),
        ({"outputs": ["type=registry"]}, "--output: missing image name to push to; add a tag: registry/name:tag"),
        ({"push": "maybe"}, "--push: 'maybe' is neither true nor false; write true or false"),
        ({"progress": "plian"}, "--progress: unknown value 'plian'; did you mean 'plain'?"),
        ({"progress": "plain", "quiet": True}, "--quiet: cannot be combined with --progress=plain; set only one"),
        ({"progress": "none", "quiet": True}, "--quiet: cannot be combined with --progress=none; set only one"),
        (
            {"allow": ["buildx.local.delete=x"]},
            "--allow: buildx.local.delete does not accept a value; write buildx.local.delete",
        ),
        ({"transport": "ssh"}, "--transport: unknown value 'ssh'; known: auto, direct, port-forward, exec"),
        ({"outputs": ["type=lokal,dest=x"]}, "--output: unknown output type 'lokal'; did you mean 'local'?"),
        ({"outputs": ["dest=x"]}, "--output: 'dest=x' has no type field; write type=…,key=value"),
        ({"outputs": ["type=local"]}, "--output: output type=local requires a folder; add dest=FOLDER"),
        ({"outputs": ["type=tar,dest=app"]}, "--output: destination 'app' is a folder; write dest=app/FILE"),
        ({"outputs": ["type=local,dest=token"]}, "--output: destination 'token' is not a folder"),
        (
            {"outputs": ["-", "type=oci"]},
            ("--output: more than one output is written to stdout; add dest=FILE to the others"),
        ),
        ({"outputs": ["out"], "iidfile": "id"}, "--iidfile: an output of type local or tar has no image ID; omit it"),
        ({"cache_from": ["type=local"]}, "--cache-from: cache type=local requires a folder; add src=FOLDER"),
        (
            {"cache_to": ["type=registri,ref=x"]},
            ("--cache-to: unknown cache type 'registri'; did you mean 'registry'?"),
        ),
        (
            {"cache_to": ["App"]},
            ("--cache-to: invalid cache reference 'App': repository name 'App' must be lower-case"),
        ),
        ({"cache_to": ["type=registry"]}, "--cache-to: cache type=registry requires ref; add ref=registry/name:tag"),
        ({"secrets": ["id=x,src=none"]}, "--secret: secret 'x': cannot read '{cwd}/none': No such file or directory"),
        ({"secrets": ["id=x,env=NONE"]}, "--secret: secret 'x': variable 'NONE' is not set"),
        ({"secrets": ["id=x,type=env"]}, "--secret: secret 'x': variable 'x' is not set"),
        ({"secrets": ["src=token"]}, "--secret: secret has no id; write id=NAME,src=FILE or id=NAME,env=VARIABLE"),
        ({"secrets": ["id=x,scr=token"]}, "--secret: unknown secret key 'scr'; did you mean 'src'?"),
        ({"secrets": ["id=x,type=fil"]}, "--secret: unknown secret type 'fil'; did you mean 'file'?"),
        (
            {"secrets": ["hunter2"]},
            ("--secret: secret field is not key=value; write id=NAME,src=FILE or id=NAME,env=VARIABLE"),
        ),
        ({"secrets": ["id=x,src=large"]}, BIG_SECRET),
        ({"metadata_file": "no/meta"}, "--metadata-file: folder 'no' does not exist; create it first"),
        ({"iidfile": "app"}, "--iidfile: 'app' is a folder; name a file"),
        ({"kubeconfig": "nope"}, "--kubeconfig: kubeconfig 'nope' does not exist"),
        (
            {"namespace": "a", "driver_opts": ["namespace=b"]},
            ("--namespace: 'a' conflicts with namespace=b of --driver-opt; set only one"),
        ),
        (
            {"builder": "b", "lifetime": "1h"},
            ("--lifetime: has no effect on the existing builder 'b'; omit it or omit --builder"),
        ),
        ({"lifetime": "1d"}, "--lifetime: '1d' is not a duration; write it like 90s, 2m or 1h30m"),
        ({"buildkitd_config": "none.toml"}, "--buildkitd-config: cannot read 'none.toml': No such file or directory"),
        ({"platfroms": ["x"]}, "platfroms: unknown option 'platfroms'; did you mean 'platforms'?"),
        ({"target": True}, "--target: True is not a single string"),
    ],
)
def test_refuses(cwd: Path, values: dict[str, Any], message: str) -> None:
    (cwd / "large").write_bytes(b"x" * (LARGEST + 1))
    assert refusal(cwd, **values) == message.replace("{cwd}", str(cwd))


@pytest.mark.parametrize(("text", "place"), [("a = 1\nb = [", "bad.toml"), ("a = 1\n[x\n", "bad.toml:2:")])
def test_broken_configuration_is_named_by_line(cwd: Path, text: str, place: str) -> None:
    (cwd / "bad.toml").write_text(text)
    assert refusal(cwd, buildkitd_config="bad.toml").startswith(f"--buildkitd-config: {place}")


def test_configuration_is_read(cwd: Path) -> None:
    (cwd / "good.toml").write_text("debug = true\n")
    assert make(cwd, buildkitd_config="good.toml").builder.buildkitd_config == "debug = true\n"


def test_lower_case_dockerfile(cwd: Path) -> None:
    (cwd / "app" / "Dockerfile").rename(cwd / "app" / "dockerfile")
    build = make(cwd).build
    assert build.dockerfile is not None
    assert build.dockerfile.name.lower() == "dockerfile"


@pytest.mark.parametrize(
    "url",
    [
        # docker/buildx 0.38.2 util/urlutil tests
        "https://example.com/repo.git#main:sub",
        "http://example.com/context.tar.gz",
        "git@github.com:moby/buildkit.git",
        "github.com/moby/buildkit",
        "git://example.com/repo.git",
        "ssh://git@example.com/repo.git",
    ],
)
def test_remote_contexts(cwd: Path, agent: Path, url: str) -> None:
    env = {"SSH_AUTH_SOCK": str(agent)}
    build = make(cwd, env, context=url, file="docker/Dockerfile").build
    assert (build.context, build.dockerfile, build.dockerfile_name) == (url, None, "docker/Dockerfile")
    assert make(cwd, env, context=url).build.dockerfile_name == "Dockerfile"


@pytest.mark.parametrize("url", ["https://example.com/Dockerfile", "-"])
def test_a_dockerfile_that_is_read_later(cwd: Path, url: str) -> None:
    build = make(cwd, file=url).build
    assert (build.dockerfile, build.dockerfile_name, build.dockerfile_origin) == (None, "Dockerfile", url)


def test_a_context_from_standard_input(cwd: Path) -> None:
    build = make(cwd, context="-", file="docker/Dockerfile").build
    assert (build.context, build.dockerfile, build.dockerfile_name) == ("-", None, "docker/Dockerfile")


def test_tokens_for_git_go_to_the_contexts_hosts(cwd: Path, agent: Path) -> None:
    env = {"GIT_AUTH_TOKEN": "t", "GIT_AUTH_HEADER": "", "SSH_AUTH_SOCK": str(agent)}

    def offered(context: str, *secrets: str, **more: Value) -> list[str]:
        build = make(cwd, env, context=context, secrets=list(secrets), **more).build
        return [secret.id for secret in build.secrets]

    assert offered("https://u@git.example:8443/a.git?ref=x#y") == ["GIT_AUTH_TOKEN.git.example:8443"]
    assert offered("github.com/team/app") == ["GIT_AUTH_TOKEN.github.com"]
    assert offered("https://git.example/a.git", "id=GIT_AUTH_TOKEN") == ["GIT_AUTH_TOKEN"]
    assert offered("https://files.example/a.tar.gz") == offered("git@git.example:a") == offered("app") == []
    assert offered("app", build_contexts=["x=https://git.example/b.git"]) == ["GIT_AUTH_TOKEN.git.example"]


def test_a_token_for_git_that_is_withheld_is_said_with_the_reason(cwd: Path) -> None:
    def withheld(context: str, *contexts: str, env: dict[str, str] | None = None, **more: Value) -> list[str]:
        named = [f"n{number}={url}" for number, url in enumerate(contexts)]
        given = {"GIT_AUTH_TOKEN": "t"} if env is None else env
        return list(make(cwd, given, context=context, build_contexts=named, **more).build.withheld_tokens)

    own, other = "https://git.example/a.git", "https://other.example/b.git"
    assert withheld("http://git.example/a.git") == [
        (
            "GIT_AUTH_TOKEN is not sent to git.example: it is cloned without TLS; if it is for this host, set --secret "
            "id=GIT_AUTH_TOKEN.git.example,env=GIT_AUTH_TOKEN"
        )
    ]
    assert [text.partition(";")[0] for text in withheld(own, other)] == [
        "GIT_AUTH_TOKEN is not sent to other.example: the build clones from other hosts, too"
    ]
    assert len(withheld("app", own, other)) == 2
    assert withheld(own) == withheld("app") == withheld(own, other, env={}) == []
    assert withheld(own, other, secrets=["id=GIT_AUTH_TOKEN.other.example,env=GIT_AUTH_TOKEN"]) == []
    assert withheld(own, other, secrets=["id=GIT_AUTH_TOKEN,env=GIT_AUTH_TOKEN"]) == []


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ("type=s3,region=r", "cache type=s3 requires bucket; add bucket=…"),
        ("type=s3,bucket=b", "cache type=s3 requires region; add region=…"),
        ("type=azblob,name=a", "cache type=azblob requires account_url; add account_url=…"),
    ],
)
def test_a_cache_export_that_cannot_work_is_refused_before_the_build(cwd: Path, cache: str, said: str) -> None:
    assert refusal(cwd, cache_to=[cache]) == f"--cache-to: {said}"
    make(cwd, cache_to=[cache], builder="kube")  # its own variables may say it


def test_buildkitds_own_variables_may_name_the_bucket(cwd: Path) -> None:
    make(cwd, cache_to=["type=s3,region=r"], driver_opts=["env.AWS_BUCKET=b"])
    make(cwd, cache_to=["type=s3,bucket=b,region=r"])
    make(cwd, cache_from=["type=s3,region=r"])


def test_a_token_for_git_goes_to_one_host_and_never_by_plain_http(cwd: Path) -> None:
    def offered(context: str, *contexts: str) -> list[str]:
        named = [f"n{number}={url}" for number, url in enumerate(contexts)]
        build = make(cwd, {"GIT_AUTH_TOKEN": "t", "GIT_AUTH_HEADER": "h"}, context=context, build_contexts=named).build
        return [secret.id for secret in build.secrets if secret.id.startswith("GIT_AUTH_TOKEN")]

    own, other = "https://git.example/a.git", "https://other.example/b.git"
    assert offered("http://git.example/a.git") == offered("app", "http://git.example/a.git") == []
    assert offered(own, other) == ["GIT_AUTH_TOKEN.git.example"]
    assert offered("app", own, other) == []
    # One origin in two spellings; BuildKit asks for the host as it is written in the URL.
    assert offered("app", own, "https://GIT.example:443/c.git#main") == [
        *("GIT_AUTH_TOKEN.GIT.example:443", "GIT_AUTH_TOKEN.git.example")
    ]
    assert offered(own, "http://git.example/c.git") == []
    assert offered(own, "http://git.example:8080/c.git") == ["GIT_AUTH_TOKEN.git.example"]
    assert offered("http://git.example/a.git", own) == []
    assert offered("https://git.example\\@other.example/a.git") == []


def test_the_builder_grants_what_the_build_is_allowed(cwd: Path) -> None:
    settings = make(cwd, allow=["security.insecure"], network="host", buildkitd_flags="--debug")
    assert settings.build.entitlements == ("security.insecure", "network.host")
    assert settings.builder.buildkitd_flags == (
        "--debug",
        "--allow-insecure-entitlement=security.insecure",
        "--allow-insecure-entitlement=network.host",
    )
    assert make(cwd, network="none").builder.buildkitd_flags == ()


def test_attestations_win_over_their_shorthands(cwd: Path) -> None:
    build = make(cwd, attests=["type=provenance,mode=max", "type=x,b=1,a=2"], provenance="false", sbom="true").build
    assert (build.provenance, build.sbom) == ("type=provenance,mode=max", "type=sbom")
    assert build.attestations == (("x", "type=x,a=2,b=1"),)


def test_outputs(cwd: Path) -> None:
    outputs = make(cwd, tags=["a"], outputs=["-", "type=image,push=true", "out/"]).build.outputs
    assert outputs == (
        TypedAttributes(type="tar", attrs=(("dest", "-"),)),
        TypedAttributes(type="image", attrs=(("push", "true"),)),
        TypedAttributes(type="local", attrs=(("dest", str(cwd / "out")),)),
    )
    assert make(cwd, outputs=["type=oci"]).build.outputs[0].get("dest") == "-"
    assert make(cwd, outputs=["type=oci,tar=false,dest=layout"]).build.outputs[0].get("dest") == str(cwd / "layout")


def test_cluster(cwd: Path) -> None:
    (cwd / "config").touch()
    assert make_cluster_settings({}, {}, {"KUBECONFIG": "/a:/b"}, cwd).kubeconfig == (Path("/a"), Path("/b"))
    assert make_cluster_settings({"kubeconfig": "config"}, {}, {"KUBECONFIG": "/a"}, cwd).kubeconfig == (
        cwd / "config",
    )


def test_a_refused_secret_does_not_show(cwd: Path) -> None:
    message = refusal(cwd, secrets=['id=x,"hunter2'])
    assert "hunter2" not in message


def test_table() -> None:
    assert len(BY_NAME) == len(OPTIONS)
    assert {option.variable for option in OPTIONS} >= {"KUBE_BUILDER_BUILD_ARGS", "KUBE_BUILDER_TAGS"}
    inputs = {option.name for option in list_options(OptionSurface.GITHUB)}
    assert inputs >= {
        "context",
        "file",
        "platforms",
        "tags",
        "push",
        "build-args",
        "secrets",
        "driver-opts",
        "kubeconfig",
    }
    assert "metadata-file" not in inputs
    assert list_options(OptionSurface.GITLAB) == list_options(OptionSurface.GITHUB)


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_created(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: path != cwd)
    with pytest.raises(InputError, match=r"'meta\.json' is not writable; name another file"):
        make_settings({"context": "app", "metadata-file": "meta.json"}, {}, {}, cwd)


def test_namespace_alone_reads_no_files(cwd: Path) -> None:
    missing = {"buildkitd-config": "absent.toml", "context": "absent"}
    assert read_namespace(missing, {}, {}, cwd) == ""
    assert read_namespace({**missing, "driver-opts": "namespace=ci"}, {}, {}, cwd) == "ci"
    with pytest.raises(InputError, match="conflicts with"):
        read_namespace({"namespace": "a", "driver-opts": "namespace=b"}, {}, {}, cwd)
