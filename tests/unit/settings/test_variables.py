"""Variables that are nearly an input."""

from __future__ import annotations

import pytest

from ci_buildx.build.context import origin
from ci_buildx.errors import InputError
from ci_buildx.settings import assembly, options
from ci_buildx.settings.option import VARIABLE_PREFIX


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("KUBE_BUILDER_TAG", "KUBE_BUILDER_TAGS"),
        ("KUBE_BUILDER_PLATFORM", "KUBE_BUILDER_PLATFORMS"),
        ("KUBE_BUILDER_DRIVER_OPT", "KUBE_BUILDER_DRIVER_OPTS"),
        ("KUBE_BUILDER_NAMESPCE", "KUBE_BUILDER_NAMESPACE"),
    ],
)
def test_typos_are_refused_by_name(typo: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"^{typo}: unknown variable; did you mean {meant}\?$"):
        assembly.read_variables({typo: "x"})


def test_what_jobs_tell_of_themselves_is_no_typo() -> None:
    names = (*assembly.REPORTED, *assembly.ABOUT_THE_JOB, "CACHE", "STATE", "OUR_OWN_THING")
    assert assembly.read_variables({f"{VARIABLE_PREFIX}{name}": "x" for name in names}) == ({}, {})


def test_the_names_are_those_that_are_read() -> None:
    own = {name for system in origin.SYSTEMS if system.name == origin.OWN for name in system.repository + system.run}
    own |= {name for system in origin.SYSTEMS if system.name == origin.OWN for name in system.job + system.url}
    told = {f"{VARIABLE_PREFIX}{name}" for name in assembly.ABOUT_THE_JOB}
    assert own <= told
    assert not told & {option.variable for option in options.OPTIONS}


def test_an_empty_variable_says_nothing() -> None:
    assert assembly.read_variables({"KUBE_BUILDER_TAG": "\n"}) == ({}, {})
