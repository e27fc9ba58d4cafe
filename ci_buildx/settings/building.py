"""Converts raw values to the settings of one build."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.settings import options
from ci_buildx.settings.attributes import (
    LOCAL_DELETE,
    NO_OCI_ARTIFACT,
    PROVENANCE,
    SBOM,
    is_switched_on,
    parse_attestations,
    parse_cache_from,
    parse_cache_to,
    parse_outputs,
    parse_provenance,
    parse_sbom,
)
from ci_buildx.settings.contexts import (
    find_dockerfile,
    is_git_by_ssh,
    parse_context,
    parse_named_contexts,
    refuse_escape,
)
from ci_buildx.settings.pairs import parse_annotations, parse_build_args, parse_labels, parse_tags
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.secrets import list_empty_secrets, list_withheld_tokens, parse_git_secrets, parse_secrets
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import (
    SOURCE_POLICY,
    BuildSettings,
    ContextMtime,
    DockerDaemon,
    FrontendCall,
    ImageLayout,
    MetadataProvenance,
    ProgressMode,
    SandboxSettings,
    SecretSource,
    SourcePolicy,
    SshSource,
    TypedAttributes,
)

EPOCH = "SOURCE_DATE_EPOCH"
METADATA_PROVENANCE = "BUILDX_METADATA_PROVENANCE"
PICTURES = (".svg", ".html")
"""Supported file extensions of a timeline."""
_OF_STEPS = ("network", "add-hosts", "shm-size", "ulimit", "cgroup-parent", "resources")


def make_build_settings(given: RawValues) -> BuildSettings:
    """Check the options of a build and return its settings. Raises InputError."""
    env, cwd, source = given.env, given.cwd, given.find_source
    context = parse_context(
        given.read_text("context") or options.CONTEXT.default, source=source("context"), cwd=cwd, env=env
    )
    file = given.read_text("file")
    named = source("file" if file else "context")
    dockerfile = find_dockerfile(file, context=context, source=named, cwd=cwd, env=env)
    policy_disabled = _check_policy(given, dockerfile.path)
    contexts = parse_named_contexts(
        given.read_texts("build-contexts"), source=source("build-contexts"), cwd=cwd, env=env
    )
    attestations = parse_attestations(given.read_texts("attests"), source=source("attests"))
    provenance = parse_provenance(given.read_text("provenance"), source=source("provenance"), env=env)
    sbom = parse_sbom(given.read_text("sbom"), source=source("sbom"))
    sandbox = _read_sandbox(given)
    entitlements = _read_entitlements(given, sandbox)
    outputs = _read_outputs(given, may_delete=LOCAL_DELETE in entitlements)
    locations = (context, *(named.location for named in contexts))
    secrets = _read_secrets(given, *locations)
    metadata_file = given.read_output_file("metadata-file")
    build = BuildSettings(
        context=context,
        dockerfile=dockerfile.path,
        dockerfile_name=dockerfile.name,
        dockerfile_origin=dockerfile.origin,
        contexts=contexts,
        context_mtime=given.read_choice("context-mtime", ContextMtime),
        tags=parse_tags(given.read_texts("tags"), source=source("tags")),
        platforms=parse_platforms(given.read_texts("platforms"), source=source("platforms")),
        push=given.switch("push"),
        build_args=parse_build_args(given.read_texts("build-args"), source=source("build-args"), env=env),
        target=given.read_text("target"),
        labels=parse_labels(given.read_texts("labels"), source=source("labels")),
        annotations=parse_annotations(given.read_texts("annotations"), source=source("annotations")),
        no_cache=given.switch("no-cache"),
        no_cache_filter=tuple(given.read_texts("no-cache-filters")),
        pull=given.switch("pull"),
        cache_from=parse_cache_from(given.read_texts("cache-from"), source=source("cache-from"), cwd=cwd, env=env),
        cache_to=parse_cache_to(given.read_texts("cache-to"), source=source("cache-to"), cwd=cwd, env=env),
        outputs=outputs,
        oci_artifact=not is_switched_on(NO_OCI_ARTIFACT, given.env),
        provenance=attestations.pop(PROVENANCE, provenance),
        sbom=attestations.pop(SBOM, sbom),
        attestations=tuple((kind, text) for kind, text in attestations.items() if text),
        secrets=secrets,
        withheld_tokens=list_withheld_tokens(locations, secrets, env),
        empty_secrets=list_empty_secrets(given.read_texts("secrets")) if _may_be_inline(given) else (),
        ssh=_read_ssh(given, context),
        entitlements=tuple(name for name in entitlements if name != LOCAL_DELETE),
        sandbox=sandbox,
        call=_read_call(given),
        source_policy=_read_source_policy(given),
        policy_disabled=policy_disabled,
        daemon=_find_daemon(given, outputs),
        metadata_file=metadata_file,
        metadata_provenance=read_metadata_provenance(env, is_written=metadata_file is not None),
        iidfile=given.read_output_file("iidfile"),
        timeline=_read_timeline(given),
        progress=_read_progress(given),
    )
    _check_build(build, given)
    cleared = [Path(output.get("dest")) for output in outputs if output.get("mode") == "delete"]
    if cleared:
        from ci_buildx.settings import sandbox as settings_sandbox

        allowed = LOCAL_DELETE in entitlements
        settings_sandbox.check_cleared_folders(build, cleared, may_delete=allowed, source=given.find_source("outputs"))
    return build


def _read_secrets(given: RawValues, *locations: Path | ImageLayout | str) -> tuple[SecretSource, ...]:
    source, texts = given.find_source("secrets"), given.read_texts("secrets")
    secrets = parse_secrets(texts, source=source, env=given.env, cwd=given.cwd, inline=_may_be_inline(given))
    return (*secrets, *parse_git_secrets(locations, secrets, given.env))


def _may_be_inline(given: RawValues) -> bool:
    """Return whether secrets may hold their values: not in command-line arguments, which others can read."""
    return given.find_source("secrets") not in options.BY_NAME["secrets"].flags


def _read_ssh(given: RawValues, context: Path | str) -> tuple[SshSource, ...]:
    """Parse ``--ssh``; a context that is cloned by SSH uses the default agent (buildx 0.38.2 ``commands/build.go``)."""
    texts, source = given.read_texts("ssh"), given.find_source("ssh")
    if not texts and isinstance(context, str) and is_git_by_ssh(context):
        texts, source = ["default"], given.find_source("context")
    if not texts:
        return ()
    from ci_buildx.settings import ssh

    return ssh.parse_ssh(texts, source=source, env=given.env, cwd=given.cwd)


def _read_sandbox(given: RawValues) -> SandboxSettings:
    if not any(given.values.get(name) for name in _OF_STEPS):
        return SandboxSettings()
    from ci_buildx.settings import sandbox as settings_sandbox

    source = given.find_source
    return SandboxSettings(
        network=settings_sandbox.parse_network(given.read_text("network"), source=source("network")),
        hosts=settings_sandbox.parse_hosts(given.read_texts("add-hosts"), source=source("add-hosts")),
        shm_size=settings_sandbox.parse_size(given.read_text("shm-size"), source=source("shm-size")),
        ulimits=settings_sandbox.parse_ulimits(given.read_texts("ulimit"), source=source("ulimit")),
        cgroup_parent=given.read_text("cgroup-parent"),
        resources=settings_sandbox.parse_resources(given.read_texts("resources"), source=source("resources")),
    )


def _read_entitlements(given: RawValues, wanted: SandboxSettings) -> tuple[str, ...]:
    """Return the entitlements; ``network=host`` implies its own (buildx 0.38.2 ``build/opt.go``)."""
    texts = given.read_texts("allow")
    if not texts and wanted.network != "host":
        return ()
    from ci_buildx.settings import sandbox as settings_sandbox

    allowed = settings_sandbox.parse_entitlements(texts, source=given.find_source("allow"))
    return tuple(dict.fromkeys((*allowed, settings_sandbox.NETWORK_HOST))) if wanted.network == "host" else allowed


def _read_outputs(given: RawValues, *, may_delete: bool) -> tuple[TypedAttributes, ...]:
    """Parse the outputs; ``--load`` adds a docker output if there is none (buildx 0.38.2 ``commands/build.go``)."""
    source = given.find_source("outputs")
    outputs = parse_outputs(
        given.read_texts("outputs"), source=source, cwd=given.cwd, env=given.env, may_delete=may_delete
    )
    if given.switch("load") and not any(map(_is_docker_load, outputs)):
        return (*outputs, TypedAttributes(type="docker"))
    return outputs


def _is_docker_load(output: TypedAttributes) -> bool:
    return output.type == "docker" and not output.get("dest")


def _find_daemon(given: RawValues, outputs: tuple[TypedAttributes, ...]) -> DockerDaemon | None:
    if not any(map(_is_docker_load, outputs)):
        return None
    from ci_buildx.settings import docker_variables

    return docker_variables.find_daemon(
        given.env, source=given.find_source("load" if given.switch("load") else "outputs")
    )


def _read_source_policy(given: RawValues) -> SourcePolicy | None:
    name = given.env.get(SOURCE_POLICY, "")
    if not name:
        return None
    from ci_buildx.settings import policies

    refuse_escape(given.cwd / name, source=SOURCE_POLICY, env=given.env)
    return policies.read_source_policy(name, cwd=given.cwd)


def _check_policy(given: RawValues, dockerfile: Path | None) -> bool:
    """Check the policies, and a policy file next to the Dockerfile; return whether policies are disabled.

    buildx 0.38.2 (``build/opt.go``) enforces such a file, which may forbid the build, so it is rejected here. So is
    anything else of that name, such as a link that leads nowhere.
    """
    beside = dockerfile.with_name(f"{dockerfile.name}.rego") if dockerfile else None
    found = beside if beside and os.path.lexists(beside) else None
    texts = given.read_texts("policy")
    if not (texts or found):
        return False
    from ci_buildx.settings import policies

    return policies.check_policies(
        texts,
        source=given.find_source("policy" if texts else "file" if given.read_text("file") else "context"),
        beside=found,
    )


def _read_call(given: RawValues) -> FrontendCall | None:
    if not (given.values.get("call") or given.switch("check")):
        return None
    from ci_buildx.settings import calls

    text = calls.CHECK if given.switch("check") else given.read_text("call")
    return calls.parse_call(text, source=given.find_source("call"))


def read_metadata_provenance(env: Mapping[str, str], *, is_written: bool) -> MetadataProvenance | None:
    """Return the provenance for the metadata, as buildx 0.38.2 reads its variable (``util/confutil/metadata.go``).

    If no metadata file ``is_written``, only a set variable requests one: buildkitd has to keep a record for it.
    """
    text = env.get(METADATA_PROVENANCE, "")
    if text == "disabled" or read_boolean(text) is False or not (text or is_written):
        return None
    return MetadataProvenance.MAX if text == MetadataProvenance.MAX else MetadataProvenance.MIN


def _read_progress(given: RawValues) -> ProgressMode:
    """Return the progress mode; ``--quiet`` fits no other mode (buildx 0.38.2 ``commands/build.go``)."""
    mode = given.read_choice("progress", ProgressMode)
    if not given.switch("quiet"):
        return mode
    if mode not in (ProgressMode.AUTO, ProgressMode.QUIET):
        raise InputError(
            f"cannot be combined with {given.find_source('progress')}={mode}",
            source=given.find_source("quiet"),
            fix="set only one",
        )
    return ProgressMode.QUIET


def _read_timeline(given: RawValues) -> Path | None:
    """Return the path of the timeline; its extension selects the format."""
    path = given.read_output_file("timeline")
    if path is not None and path.suffix.lower() not in PICTURES:
        message = f"{path.name!r} has an unsupported timeline format"
        raise InputError(message, source=given.find_source("timeline"), fix=f"use {' or '.join(PICTURES)}")
    return path


def _check_build(build: BuildSettings, given: RawValues) -> None:
    """Reject options that contradict each other."""
    _check_push(build, given)
    _check_image_id(build, given)
    _check_epoch(build, given)
    if build.no_cache and build.no_cache_filter:
        raise InputError(
            f"has no effect with {given.find_source('no-cache')}, which runs every stage",
            source=given.find_source("no-cache-filters"),
            fix="set only one",
        )


def _check_push(build: BuildSettings, given: RawValues) -> None:
    """Require a name for a push, from a tag or from the output itself (buildx 0.38.2 ``build/opt.go``)."""
    pushing = [output for output in build.outputs if _is_push(output)]
    nameless = [output for output in pushing if not output.get("name")]
    if build.tags or build.call or not (build.push or nameless):
        return
    source = given.find_source("push" if build.push else "outputs")
    raise InputError("missing image name to push to", source=source, fix="add a tag: registry/name:tag")


def _is_push(output: TypedAttributes) -> bool:
    push = dict(output.attrs).get("push", "false")
    return output.type == "registry" or (output.type == "image" and (not push or read_boolean(push) is True))


def _check_image_id(build: BuildSettings, given: RawValues) -> None:
    """Reject an image ID file for outputs that are files (buildx 0.38.2 ``commands/build.go``)."""
    if build.iidfile and any(output.type in ("local", "tar") for output in build.outputs):
        raise InputError(
            "an output of type local or tar has no image ID", source=given.find_source("iidfile"), fix="omit it"
        )


def _check_epoch(build: BuildSettings, given: RawValues) -> None:
    """Require SOURCE_DATE_EPOCH for ``epoch``: whole seconds, from a build argument or the environment."""
    if build.context_mtime is ContextMtime.EPOCH:
        epoch = dict(build.build_args).get(EPOCH, "")
        if not (epoch.isascii() and epoch.isdigit()):
            message = f"{EPOCH} is not a number of seconds: {epoch!r}" if epoch else f"{EPOCH} is not set"
            raise InputError(
                message, source=given.find_source("context-mtime"), fix=f"set {EPOCH} to seconds since 1970"
            )
