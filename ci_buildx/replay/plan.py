"""What a replay would do, as ``--dry-run`` prints it; the JSON is docker buildx's (0.38.2, ``replay/dryrun.go``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.model.masker import is_secret_name
from ci_buildx.model.plaintext import MASK
from ci_buildx.model.platform import Platform
from ci_buildx.replay.checks import find_context
from ci_buildx.replay.materials import MaterialKind, classify_material
from ci_buildx.replay.pins import parse_package
from ci_buildx.replay.predicate import BuildMaterial, BuildPredicate, DeclaredInput
from ci_buildx.replay.subject import ReplaySubject
from ci_buildx.settings.values import BuildSettings, TypedAttributes


def make_build_plan(subject: ReplaySubject, predicate: BuildPredicate, build: BuildSettings) -> dict[str, Any]:
    """Return the plan of ``replay build``."""
    config = {
        "frontend": predicate.frontend,
        "frontendAttrs": _select_syntax(predicate),
        "context": find_context(predicate),
        "filename": build.dockerfile_name,
        "target": build.target,
        "buildArgs": _mask_pairs(build.build_args),
        "labels": _mask_pairs(build.labels),
        "noCache": build.no_cache,
        "noCacheFilter": list(build.no_cache_filter),
        "secrets": _list_secrets(predicate.secrets),
        "ssh": sorted(one.id for one in predicate.ssh),
        "networkMode": build.sandbox.network or "default",
        "exports": [_format_output(one) for one in build.outputs],
    }
    one = {
        "descriptor": describe_subject(subject),
        "buildConfig": {name: value for name, value in config.items() if value or name == "frontend"},
        "materials": [make_material_plan(material, predicate) for material in predicate.materials],
    }
    return {"subjects": [one]}


def describe_subject(subject: ReplaySubject) -> dict[str, Any]:
    """Return the subject's descriptor, with the platform that was chosen for a file."""
    described = dict(subject.descriptor)
    if subject.platform is not None and "platform" not in described:
        described["platform"] = _describe_platform(subject.platform)
    return described


def make_material_plan(
    material: BuildMaterial, predicate: BuildPredicate, *, included: bool = False, size: int = 0
) -> dict[str, Any]:
    """Return a material as the plans show it: an image without digest and platform in its URI."""
    kind = classify_material(material)
    shown: dict[str, Any] = {"uri": material.uri}
    if kind is MaterialKind.IMAGE:
        shown["uri"] = material.uri.partition("?")[0]
        platform = _find_platform(material) or predicate.builder_platform
        if platform is not None:
            shown["platform"] = _describe_platform(platform)
    shown |= {"digest": material.digest, "kind": str(kind), "included": included, "size": size}
    return {name: value for name, value in shown.items() if value}


def format_plan(plan: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of the plan as columns."""
    rows = [["Replay plan"]]
    for one in plan["subjects"]:
        config = one["buildConfig"]
        rows += [[""], ["Subject"]]
        rows += _list_fields(
            ("Platform", _format_platform(one["descriptor"].get("platform"))), ("Digest", one["descriptor"]["digest"])
        )
        rows += [[""], ["Build configuration"]]
        rows += _list_fields(
            ("Frontend", config["frontend"]),
            ("Context", config.get("context", "")),
            ("Dockerfile", config.get("filename", "")),
            ("Target", config.get("target", "")),
            ("Network", config.get("networkMode", "")),
            *(("Build arg", f"{name}={text}") for name, text in config.get("buildArgs", {}).items()),
            *(("Secret", f"{each['id']}{_note_optional(each)}") for each in config.get("secrets", ())),
            *(("SSH", name) for name in config.get("ssh", ())),
        )
        rows += [[""], [f"Materials ({len(one['materials'])})"]]
        for each in one["materials"]:
            platform = _format_platform(each.get("platform"))
            rows.append([f"  {each['kind']}" + (f" [{platform}]" if platform else ""), each.get("uri", "")])
            if each.get("digest"):
                rows.append(["", each["digest"]])
    return rows


def _list_fields(*pairs: tuple[str, str]) -> list[list[str]]:
    return [[f"  {name}:", text] for name, text in pairs if text]


def _mask_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return build arguments or labels without those values whose name marks them as secrets."""
    return {name: MASK if text and is_secret_name(name) else text for name, text in pairs}


def _select_syntax(predicate: BuildPredicate) -> dict[str, str]:
    if predicate.frontend != "gateway.v0":
        return {}
    return {name: text for name in ("source", "cmdline") if (text := predicate.attributes.get(name, ""))}


def _list_secrets(secrets: Sequence[DeclaredInput]) -> list[dict[str, Any]]:
    found = sorted(secrets, key=lambda one: one.id)
    return [{"id": one.id, "optional": True} if one.optional else {"id": one.id} for one in found]


def _format_output(output: TypedAttributes) -> str:
    text = f"type={output.type}"
    for name in ("dest", "name"):
        if output.get(name):
            text += f",{name}={output.get(name)}"
    return text


def _find_platform(material: BuildMaterial) -> Platform | None:
    try:
        return parse_package(material.uri)[2]
    except ValueError:
        return None


def _describe_platform(platform: Platform) -> dict[str, str]:
    described = {"architecture": platform.architecture, "os": platform.os}
    return described | ({"variant": platform.variant} if platform.variant else {})


def _format_platform(described: Mapping[str, str] | None) -> str:
    parts = (described or {}).get("os", ""), (described or {}).get("architecture", ""), (described or {}).get("variant")
    return "/".join(part for part in parts if part)


def _note_optional(secret: Mapping[str, Any]) -> str:
    return " (optional)" if secret.get("optional") else ""
