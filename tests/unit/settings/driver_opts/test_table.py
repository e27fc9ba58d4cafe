"""One row decides an option: its readers, its field, and the schema follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.driver_opts.parse import parse_document, parse_driver_opts
from ci_buildx.settings.driver_opts.schema import format_default, make_schema
from ci_buildx.settings.driver_opts.table import OPTIONS, DriverOption

COMBINED = {
    *("env.", "idle-timeout", "image-pull-secrets", "network-policy", "runner-selector"),
    *(f"{kind}.{resource}" for kind in ("requests", "limits") for resource in ("cpu", "memory", "ephemeral-storage")),
}
"""Options that `apply` combines with others."""
CLOSED = [option for option in OPTIONS.values() if option.choices]


DERIVED = {"buildkitd_config", "registry_files", "buildkitd_flags", "lifetime"}
"""Fields of BuilderSettings that options of a build set."""
OF_COMBINED = {"scaling", "requests", "limits", "env", "pull_secrets", "pull_login", "network", "pod_fields"}
"""Fields of BuilderSettings that `apply` makes."""


def test_every_other_option_sets_a_field_that_exists() -> None:
    for option in OPTIONS.values():
        assert bool(option.field) + bool(option.pod_field) == (option.name not in COMBINED)
        value: Any = BuilderSettings()
        for name in option.field.split(".") if option.field else ():
            value = getattr(value, name)
    for fields in ([option.field for option in OPTIONS.values()], [option.pod_field for option in OPTIONS.values()]):
        used = [field for field in fields if field]
        assert len(set(used)) == len(used)


def test_every_field_is_set_by_an_option() -> None:
    set_by_options = {option.field.partition(".")[0] for option in OPTIONS.values() if option.field}
    assert set(get_type_hints(BuilderSettings)) == set_by_options | DERIVED | OF_COMBINED
    assert not set_by_options & (DERIVED | OF_COMBINED)


def test_a_field_of_the_pods_spec_is_kept_until_it_is_set_again() -> None:
    base = parse_driver_opts(["priority-class=low,schedulername=packs"], source="x")
    read = parse_driver_opts(["priority-class=high"], source="x", base=base)
    assert dict(read.pod_fields) == {"priorityClassName": "high", "schedulerName": "packs"}


@pytest.mark.parametrize("option", CLOSED, ids=lambda option: option.name)
def test_a_closed_set_is_the_same_for_both_forms(option: DriverOption, tmp_path: Path) -> None:
    for choice in option.choices:
        needed = "persistent-volume-claim.requests.storage=1Gi," if option.name == "reclaim" else ""
        read = parse_driver_opts([f"{needed}{option.name}={choice}"], source="x")
        value: Any = dict(read.pod_fields) if option.pod_field else read
        for name in option.field.split(".") if option.field else ():
            value = getattr(value, name)
        assert (value[option.pod_field] if option.pod_field else value) == choice
    (tmp_path / "b.yaml").write_text(f"{option.name}: unheard-of\n")
    with pytest.raises(InputError) as of_yaml:
        parse_document("b.yaml", source="x", cwd=tmp_path)
    with pytest.raises(InputError) as of_text:
        parse_driver_opts([f"{option.name}=unheard-of"], source="x")
    assert str(of_yaml.value) == str(of_text.value).replace(f"x {option.name}", f"b.yaml:1 {option.name}")
    assert str(of_text.value).startswith(f"x {option.name}: unknown value 'unheard-of'; ")


def test_the_schema_has_the_choices_and_booleans_where_yaml_has_them() -> None:
    properties = make_schema()["properties"]
    assert {name for name, one in properties.items() if "enum" in one} == {option.name for option in CLOSED}
    assert properties["loadbalance"]["enum"] == ["sticky", "least", "random"]
    assert properties["user-namespaces"]["enum"] == ["auto", "true", "false", True, False]


def test_the_defaults_are_those_of_the_settings() -> None:
    defaults = {name: format_default(option) for name, option in OPTIONS.items()}
    assert {name: default for name, default in defaults.items() if default is not None} == {
        "image": "moby/buildkit:buildx-stable-1",
        "replicas": 1,
        "loadbalance": "sticky",
        "default-load": False,
        "timeout": "120s",
        "rootless": False,
        "qemu.install": False,
        "qemu.image": "tonistiigi/binfmt:latest",
        "user-namespaces": "auto",
        "seccomp-profile": "unconfined",
        "apparmor-profile": "unconfined",
        "reclaim": "delete",
        "proxy": False,
        "network-policy": False,
    }


def test_every_caller_gets_a_schema_of_its_own() -> None:
    make_schema()["properties"].clear()
    assert "image" in make_schema()["properties"]


def test_an_option_is_applied_to_the_field_of_a_field() -> None:
    base = parse_driver_opts(["persistent-volume-claim.requests.storage=9Gi,storage-class=slow"], source="x")
    read = parse_driver_opts(["storage-class=fast"], source="x", base=base)
    assert (read.storage.claimed, read.storage.storage_class) == ("9Gi", "fast")
