"""``--call``: requests to the frontend other than a build (buildx 0.38.2 ``util/buildflags/callfunc.go``)."""

from __future__ import annotations

from ci_buildx.errors import InputError
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import require_boolean, split_fields
from ci_buildx.settings.values import FrontendCall

CHECK = "check"
LINT = "lint"
METHODS = ("build", CHECK, LINT, "outline", "targets", "subrequests.describe")
_FORMATS = ("json", "text")
_FIX = "write check, outline or targets, optionally with ,format=json"


def parse_call(text: str, *, source: str) -> FrontendCall | None:
    """Parse ``check``, ``outline,format=json`` and similar texts; return None for ``build`` and for an empty text.

    Raises InputError.
    """
    name, attributes = "", {"format": "", "ignorestatus": "false"}
    for field in _split_fields(text, source):
        key, equals, value = field.partition("=")
        if equals and key in attributes:
            attributes[key] = value
        elif equals:
            raise InputError(f"unknown key {key!r}", source=source, fix=suggest_name(key, attributes))
        elif name:
            raise InputError(f"both {name!r} and {field!r} cannot be combined", source=source, fix=_FIX)
        else:
            name = field
    if name not in ("", *METHODS):
        raise InputError(f"unknown method {name!r}", source=source, fix=suggest_name(name, METHODS))
    ignores = require_boolean(attributes["ignorestatus"], source=f"{source} ignorestatus")
    if attributes["format"] not in ("", *_FORMATS):
        raise InputError(
            f"unknown format {attributes['format']!r}", source=source, fix=suggest_name(attributes["format"], _FORMATS)
        )
    if name in ("", METHODS[0]):
        return None
    return FrontendCall(
        method=LINT if name == CHECK else name, json=attributes["format"] == "json", ignore_status=bool(ignores)
    )


def _split_fields(text: str, source: str) -> list[str]:
    try:
        return split_fields(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix=_FIX) from error
