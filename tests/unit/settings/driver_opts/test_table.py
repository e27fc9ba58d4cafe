"""One row decides an option: its readers, its field, and the schema follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_every_other_option_sets_a_field_that_exists() -> None:
    settings = BuilderSettings()
    for option in OPTIONS.values():
        if option.name in COMBINED:
            assert not option.field
            continue
        value: Any = settings
        for name in option.field.split("."):
            value = getattr(value, name)
    fields = [option.field for option in OPTIONS.values() if option.field]
    assert len(set(fields)) == len(fields)


@pytest.mark.parametrize("option", CLOSED, ids=lambda option: option.name)
def test_a_closed_set_is_the_same_for_both_forms(option: DriverOption, tmp_path: Path) -> None:
    for choice in option.choices:
        needed = "persistent-volume-claim.requests.storage=1Gi," if option.name == "reclaim" else ""
        read = parse_driver_opts([f"{needed}{option.name}={choice}"], source="x")
        value: Any = read
        for name in option.field.split("."):
            value = getattr(value, name)
        assert value == choice
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
