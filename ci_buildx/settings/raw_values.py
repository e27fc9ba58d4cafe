"""The raw values of a build's options, read by their kinds. Content that was pasted is rejected, never quoted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import describe_pasted
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.settings import options
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.option import Option, OptionKind, Reading
from ci_buildx.settings.syntax import join_fields, read_mode, require_boolean, split_lines, split_records

Value = list[str] | str | bool
LONGEST_VALUE = 1 << 17
"""Maximum characters of one value: Linux passes no longer argument and no longer variable (``execve``(2))."""
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class RawValues:
    """Values and sources by the names of the table ``known``; ``cwd`` is absolute. Every method raises InputError."""

    values: Mapping[str, Value]
    sources: Mapping[str, str]
    env: Mapping[str, str]
    cwd: Path
    known: Mapping[str, Option] = field(default_factory=lambda: options.BY_NAME)

    def replace_values(self, **values: Value) -> RawValues:
        """Return a copy with other values for some names; their sources stay."""
        return replace(self, values={**self.values, **values})

    def select_build_options(self) -> dict[str, Value]:
        """Return the options of the build; the others configure the job around it."""
        return {name: value for name, value in self.values.items() if name in options.BY_NAME}

    def check_names(self) -> None:
        """Raise InputError for an option that the table does not contain."""
        for name in self.values:
            if name not in self.known:
                raise InputError(
                    f"unknown option {name!r}", source=self.find_source(name), fix=suggest_name(name, self.known)
                )

    def check_values(self) -> None:
        """Reject values that are too long, and content where a path, a URL or a name is expected.

        That is before any parser reads them, and before any error quotes them.
        """
        for name, value in self.values.items():
            texts = (value,) if isinstance(value, str) else value if isinstance(value, list) else ()
            if (longest := max(map(len, texts), default=0)) > LONGEST_VALUE:
                message = f"the value has {longest} characters, more than {LONGEST_VALUE}"
                raise InputError(message, source=self.find_source(name), fix="shorten it")
            option = self.known.get(name)
            if option is not None and option.repeatable and isinstance(value, str):
                texts = self._split_lines(value, option)
            refuse_pasted(name, iter(texts), source=self.find_source(name))

    def find_source(self, name: str) -> str:
        """Return the origin of a value in the user's terms."""
        return self.sources.get(name, name)

    def read_text(self, name: str) -> str:
        """Return a single value, stripped; "" if it is not set."""
        value = self.values.get(name, "")
        if isinstance(value, str):
            return value.strip()
        raise InputError(f"{value!r} is not a single string", source=self.find_source(name))

    def read_texts(self, name: str, *, comments: bool = False) -> list[str]:
        """Return the values of a list. A single text (an input, a variable) is split as the table says.

        With ``comments``, lines of that text that begin with ``#`` are dropped.
        """
        value = self.values.get(name, [])
        if isinstance(value, bool):
            raise InputError("must not be a boolean", source=self.find_source(name), fix="write one value per line")
        if isinstance(value, str):
            value = self._split(value, self.known[name], comments=comments)
        return [text for text in value if text]

    def _split_lines(self, text: str, option: Option) -> list[str]:
        """Split a list leniently for the check of its values; syntax errors are reported later."""
        try:
            return self._split(text, option, comments=False)
        except InputError:
            return text.splitlines()

    def _split(self, text: str, option: Option, *, comments: bool) -> list[str]:
        if option.reading is Reading.LINES:
            return split_lines(text)
        verbatim = option.reading is Reading.VERBATIM
        try:
            records = split_records(text if verbatim else text.strip(), comments=comments or option.comments)
        except ValueError as error:
            fix = 'close it, or double the quotes inside a quoted value: "a ""b"""'
            raise InputError(str(error), source=self.find_source(option.name), fix=fix) from error
        if option.kind is OptionKind.WORDS:
            # A record with a single field is split again, even if the field was quoted.
            records = [record[0].split(",") if len(record) == 1 else record for record in records]
            return [word.strip() for record in records for word in record]
        values = [record[0] if len(record) == 1 else _join(record, option.reading) for record in records]
        return [value for value in values if value.strip()] if verbatim else [value.strip() for value in values]

    def switch(self, name: str) -> bool:
        """Return a boolean; the table's default if it is not set, which is False if the table has none."""
        value = self.values.get(name, "")
        if isinstance(value, bool):
            return value
        return require_boolean(
            self.read_text(name) or self.known[name].default or "false", source=self.find_source(name)
        )

    def read_choice(self, name: str, kind: type[Choice]) -> Choice:
        """Return a member of an enumeration; the table's default if it is not set."""
        text = self.read_text(name) or self.known[name].default
        if text not in list(kind):
            raise InputError(
                f"unknown value {text!r}", source=self.find_source(name), fix=suggest_name(text, list(kind))
            )
        return kind(text)

    def read_output_file(self, name: str) -> Path | None:
        """Return the path of a file to be written later, or None.

        The folder must exist, and the file must be writable.
        """
        text = self.read_text(name)
        if not text:
            return None
        mode = read_mode(self.cwd / text, source=self.find_source(name))
        path = refuse_escape(self.cwd / text, source=self.find_source(name), env=self.env)
        if mode is not None and stat.S_ISDIR(mode):
            raise InputError(f"{text!r} is a folder", source=self.find_source(name), fix="name a file")
        if not path.parent.is_dir():
            raise InputError(
                f"folder {str(Path(text).parent)!r} does not exist",
                source=self.find_source(name),
                fix="create it first",
            )
        if not os.access(path if mode is not None else path.parent, os.W_OK):
            raise InputError(f"{text!r} is not writable", source=self.find_source(name), fix="name another file")
        return path


def _join(record: list[str], reading: Reading) -> str:
    """Join a record into one value.

    Fields of a CSV value keep the quotes around a comma, which docker's actions would lose.
    """
    is_csv = reading is Reading.FIELDS or (reading is Reading.VERBATIM and record[0].startswith("id="))
    return ",".join(join_fields([field]) if is_csv and "," in field else field for field in record)


_FREE = frozenset(
    (
        *("build-args", "labels", "annotations", "secrets", "driver-opts", "builder-config", "buildkitd-config-inline"),
        *("buildkitd-flags", "sticky-key", "kubeconfig"),
    )
)
"""Options whose values are free text, or that check their values themselves."""
_FIELDS = frozenset(("secrets", "cache-from", "cache-to", "outputs"))
"""Options with ``key=value`` fields, some of which name something."""
_PATHS = frozenset(
    ("file", "ssh", "metadata-file", "iidfile", "timeline", "buildkitd-config", "build-contexts", "context")
)
_NAMING = compile_lazily(r"(?s)(?:^|,)\s*\"?(?:src|source|dest|ref)=(.*)")


def refuse_pasted(name: str, texts: Iterator[str], *, source: str) -> None:
    """Raise InputError if a value of the option ``name`` looks like content instead of a name."""
    for text in texts:
        for part in _split_parts(name, text):
            if looks := describe_pasted(part, is_path=name in _PATHS or name in _FIELDS):
                raise make_refusal(looks, source=source)


def make_refusal(looks: str, *, source: str) -> InputError:
    """Return the error, which describes the value without quoting it."""
    fix = "write the text to a file and name the file (on GitLab: a variable of type File)"
    return InputError(f"must be a name, a path or a URL, but the value looks like {looks}", source=source, fix=fix)


def _split_parts(name: str, text: str) -> Iterator[str]:
    if name in _FIELDS:
        if found := _NAMING.search(text):
            rest = found[1]
            yield rest if describe_pasted(rest) else rest.partition(",")[0]
        return
    if name in _FREE:
        return
    yield text
    if name in ("ssh", "build-contexts"):
        yield from text.partition("=")[2].split(",")
