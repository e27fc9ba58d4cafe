"""Provenance as docker/build-push-action 7.3.0 has it (``src/context.ts``): more of it for public repositories."""

from __future__ import annotations

from ci_buildx.ci.attestations import is_of_type, with_last_word
from ci_buildx.ci.github.events import Event
from ci_buildx.settings.attestations import NO_DEFAULTS, PROVENANCE
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.csvline import join_fields, split_fields
from ci_buildx.settings.given import Given

_PRIVATE, _PUBLIC = "mode=min,inline-only=true", "mode=max"
_BUILDER = "builder-id"


def with_provenance(given: Given, event: Event) -> Given:
    """The inputs with the provenance that counts if none is asked for, and with the run as its builder."""
    url = event.run_url(attempt=True)
    given = with_last_word(given)
    asked = given.text("provenance")
    attests = given.texts("attests")
    if asked:
        return given.having(provenance=_with_builder(asked, url))
    if any(is_of_type(text, PROVENANCE) for text in attests):
        return given.having(
            attests=[_with_builder(text, url) if is_of_type(text, PROVENANCE) else text for text in attests]
        )
    if read_boolean(given.env.get(NO_DEFAULTS, "")) or _for_docker(given):
        return given
    return given.having(provenance=_with_builder(_PRIVATE if event.is_private else _PUBLIC, url))


def _with_builder(text: str, url: str) -> str:
    """Attributes with the run's address; a boolean becomes attributes, "false" stays."""
    wanted = read_boolean(text)
    if wanted is False or not url:
        return text
    try:
        fields = [] if wanted else split_fields(text)
    except ValueError:
        return text  # told when it is read
    named = any(field.partition("=")[0].strip() == _BUILDER for field in fields)
    return text if named else join_fields([*fields, f"{_BUILDER}={url}"])


def _for_docker(given: Given) -> bool:
    """Whether the result is for a docker daemon, which takes no attestations."""
    loaded = "load" in given.known and given.switch("load")
    return loaded or any("type=docker" in text.replace(" ", "").split(",") for text in given.texts("outputs"))
