"""From raw values to what one build is asked to be."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.settings import options
from ci_buildx.settings.attestations import (
    NO_OCI_ARTIFACT,
    PROVENANCE,
    SBOM,
    is_switched_on,
    parse_attestations,
    parse_provenance,
    parse_sbom,
)
from ci_buildx.settings.attributes import LOCAL_DELETE, parse_cache_from, parse_cache_to, parse_outputs
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.contexts import find_dockerfile, is_git_by_ssh, parse_context, parse_named_contexts
from ci_buildx.settings.given import Given
from ci_buildx.settings.pairs import parse_annotations, parse_build_args, parse_labels
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.secrets import empty_secrets, parse_git_secrets, parse_secrets
from ci_buildx.settings.tags import parse_tags
from ci_buildx.settings.values import (
    Attributes,
    BuildSettings,
    Call,
    ContextMtime,
    Daemon,
    ImageLayout,
    Progress,
    Sandbox,
    SecretSource,
    SourcePolicy,
    SshSource,
)

EPOCH = "SOURCE_DATE_EPOCH"
SOURCE_POLICY = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
PICTURES = (".svg", ".html")
"""What a timeline can be, by the ending of its name."""
_OF_STEPS = ("network", "add-hosts", "shm-size", "ulimit", "cgroup-parent", "resources")


def build_from(given: Given) -> BuildSettings:
    """The build, checked. Raises InputError."""
    env, cwd, source = given.env, given.cwd, given.source
    context = parse_context(given.text("context") or options.CONTEXT.default, source=source("context"), cwd=cwd)
    file = given.text("file")
    dockerfile = find_dockerfile(file, context=context, source=source("file" if file else "context"), cwd=cwd)
    policy_disabled = _check_policy(given, dockerfile.path)
    contexts = parse_named_contexts(given.texts("build-contexts"), source=source("build-contexts"), cwd=cwd)
    attestations = parse_attestations(given.texts("attests"), source=source("attests"))
    provenance = parse_provenance(given.text("provenance"), source=source("provenance"), env=env)
    sbom = parse_sbom(given.text("sbom"), source=source("sbom"))
    sandbox = _sandbox(given)
    entitlements = _entitlements(given, sandbox)
    outputs = _outputs(given, may_delete=LOCAL_DELETE in entitlements)
    build = BuildSettings(
        context=context,
        dockerfile=dockerfile.path,
        dockerfile_name=dockerfile.name,
        dockerfile_origin=dockerfile.origin,
        contexts=contexts,
        context_mtime=given.choice("context-mtime", ContextMtime),
        tags=parse_tags(given.texts("tags"), source=source("tags")),
        platforms=parse_platforms(given.texts("platforms"), source=source("platforms")),
        push=given.switch("push"),
        build_args=parse_build_args(given.texts("build-args"), source=source("build-args"), env=env),
        target=given.text("target"),
        labels=parse_labels(given.texts("labels"), source=source("labels")),
        annotations=parse_annotations(given.texts("annotations"), source=source("annotations")),
        no_cache=given.switch("no-cache"),
        no_cache_filter=tuple(given.texts("no-cache-filters")),
        pull=given.switch("pull"),
        cache_from=parse_cache_from(given.texts("cache-from"), source=source("cache-from"), cwd=cwd),
        cache_to=parse_cache_to(given.texts("cache-to"), source=source("cache-to"), cwd=cwd),
        outputs=outputs,
        oci_artifact=not is_switched_on(NO_OCI_ARTIFACT, given.env),
        provenance=attestations.pop(PROVENANCE, provenance),
        sbom=attestations.pop(SBOM, sbom),
        attestations=tuple((kind, text) for kind, text in attestations.items() if text),
        secrets=_secrets(given, context, *(named.location for named in contexts)),
        empty_secrets=empty_secrets(given.texts("secrets")) if _are_inline(given) else (),
        ssh=_ssh(given, context),
        entitlements=tuple(name for name in entitlements if name != LOCAL_DELETE),
        sandbox=sandbox,
        call=_call(given),
        source_policy=_source_policy(given),
        policy_disabled=policy_disabled,
        daemon=_daemon(given, outputs),
        metadata_file=given.output_file("metadata-file"),
        iidfile=given.output_file("iidfile"),
        timeline=_timeline(given),
        progress=given.choice("progress", Progress),
    )
    _check(build, given)
    cleared = [Path(output.get("dest")) for output in outputs if output.get("mode") == "delete"]
    if cleared:
        from ci_buildx.settings import cleared_folders

        allowed = LOCAL_DELETE in entitlements
        cleared_folders.check(build, cleared, may_delete=allowed, source=given.source("outputs"))
    return build


def _secrets(given: Given, *locations: Path | ImageLayout | str) -> tuple[SecretSource, ...]:
    source, texts = given.source("secrets"), given.texts("secrets")
    secrets = parse_secrets(texts, source=source, env=given.env, cwd=given.cwd, inline=_are_inline(given))
    return (*secrets, *parse_git_secrets(locations, secrets, given.env))


def _are_inline(given: Given) -> bool:
    """Whether secrets may hold their values: not those of an argv, which others can read."""
    return given.source("secrets") not in options.BY_NAME["secrets"].flags


def _ssh(given: Given, context: Path | str) -> tuple[SshSource, ...]:
    """What is given; a context that is cloned by SSH needs an agent anyhow (buildx 0.38.2 ``commands/build.go``)."""
    texts, source = given.texts("ssh"), given.source("ssh")
    if not texts and isinstance(context, str) and is_git_by_ssh(context):
        texts, source = ["default"], given.source("context")
    if not texts:
        return ()
    from ci_buildx.settings import ssh

    return ssh.parse_ssh(texts, source=source, env=given.env, cwd=given.cwd)


def _sandbox(given: Given) -> Sandbox:
    if not any(given.values.get(name) for name in _OF_STEPS):
        return Sandbox()
    from ci_buildx.settings import sandbox

    source = given.source
    return Sandbox(
        network=sandbox.parse_network(given.text("network"), source=source("network")),
        hosts=sandbox.parse_hosts(given.texts("add-hosts"), source=source("add-hosts")),
        shm_size=sandbox.parse_size(given.text("shm-size"), source=source("shm-size")),
        ulimits=sandbox.parse_ulimits(given.texts("ulimit"), source=source("ulimit")),
        cgroup_parent=given.text("cgroup-parent"),
        resources=sandbox.parse_resources(given.texts("resources"), source=source("resources")),
    )


def _entitlements(given: Given, wanted: Sandbox) -> tuple[str, ...]:
    """What is allowed; the host's network is, where it is asked for (buildx 0.38.2 ``build/opt.go``)."""
    texts = given.texts("allow")
    if not texts and wanted.network != "host":
        return ()
    from ci_buildx.settings import sandbox

    allowed = sandbox.parse_entitlements(texts, source=given.source("allow"))
    return tuple(dict.fromkeys((*allowed, sandbox.NETWORK_HOST))) if wanted.network == "host" else allowed


def _outputs(given: Given, *, may_delete: bool) -> tuple[Attributes, ...]:
    """What is asked for; ``--load`` adds one for docker where none is (buildx 0.38.2 ``commands/build.go``)."""
    source = given.source("outputs")
    outputs = parse_outputs(given.texts("outputs"), source=source, cwd=given.cwd, may_delete=may_delete)
    if given.switch("load") and not any(map(_loads, outputs)):
        return (*outputs, Attributes(type="docker"))
    return outputs


def _loads(output: Attributes) -> bool:
    return output.type == "docker" and not output.get("dest")


def _daemon(given: Given, outputs: tuple[Attributes, ...]) -> Daemon | None:
    if not any(map(_loads, outputs)):
        return None
    from ci_buildx.settings import daemon

    return daemon.find_daemon(given.env, source=given.source("load" if given.switch("load") else "outputs"))


def _source_policy(given: Given) -> SourcePolicy | None:
    name = given.env.get(SOURCE_POLICY, "")
    if not name:
        return None
    from ci_buildx.settings import source_policy

    return source_policy.read_policy(name, cwd=given.cwd)


def _check_policy(given: Given, dockerfile: Path | None) -> bool:
    """Refuse a policy beside the Dockerfile, which buildx 0.38.2 (``build/opt.go``) enforces: it may forbid the build.

    Returns whether policies are disabled.
    """
    beside = dockerfile.with_name(f"{dockerfile.name}.rego") if dockerfile else None
    found = beside if beside and beside.is_file() else None
    texts = given.texts("policy")
    if not (texts or found):
        return False
    from ci_buildx.settings import policies

    return policies.check(
        texts, source=given.source("policy" if texts else "file" if given.text("file") else "context"), beside=found
    )


def _call(given: Given) -> Call | None:
    if not (given.values.get("call") or given.switch("check")):
        return None
    from ci_buildx.settings import calls

    text = calls.CHECK if given.switch("check") else given.text("call")
    return calls.parse_call(text, source=given.source("call"))


def _timeline(given: Given) -> Path | None:
    """Where the picture of the build goes; its name says what it is."""
    path = given.output_file("timeline")
    if path is not None and path.suffix.lower() not in PICTURES:
        message = f"{path.name!r} is neither a picture nor a page"
        raise InputError(message, source=given.source("timeline"), fix=f"let it end in {' or '.join(PICTURES)}")
    return path


def _check(build: BuildSettings, given: Given) -> None:
    """What does not fit together."""
    _check_push(build, given)
    _check_image_id(build, given)
    _check_epoch(build, given)
    if build.no_cache and build.no_cache_filter:
        raise InputError(
            f"{given.source('no-cache')} runs every stage anyway",
            source=given.source("no-cache-filters"),
            fix="give one of them",
        )


def _check_push(build: BuildSettings, given: Given) -> None:
    """A push needs a name, from a tag or from the output itself (buildx 0.38.2 ``build/opt.go``)."""
    pushing = [output for output in build.outputs if _pushes(output)]
    nameless = [output for output in pushing if not output.get("name")]
    if build.tags or build.call or not (build.push or nameless):
        return
    source = given.source("push" if build.push else "outputs")
    raise InputError("there is no name to push to", source=source, fix="add --tag registry/name:tag")


def _pushes(output: Attributes) -> bool:
    push = dict(output.attrs).get("push", "false")
    return output.type == "registry" or (output.type == "image" and (not push or read_boolean(push) is True))


def _check_image_id(build: BuildSettings, given: Given) -> None:
    """Files have no image ID (buildx 0.38.2 ``commands/build.go``)."""
    if build.iidfile and any(output.type in ("local", "tar") for output in build.outputs):
        raise InputError("a folder or tar of files has no image ID", source=given.source("iidfile"), fix="leave it out")


def _check_epoch(build: BuildSettings, given: Given) -> None:
    """``epoch`` needs SOURCE_DATE_EPOCH: whole seconds, from a build argument or the environment."""
    if build.context_mtime is ContextMtime.EPOCH:
        epoch = dict(build.build_args).get(EPOCH, "")
        if not (epoch.isascii() and epoch.isdigit()):
            message = f"{EPOCH} is no number of seconds: {epoch!r}" if epoch else f"{EPOCH} is not set"
            raise InputError(message, source=given.source("context-mtime"), fix=f"set {EPOCH} to seconds since 1970")
