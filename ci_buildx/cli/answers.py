"""A verb's parsed arguments, read by type; errors name the flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.syntax import read_boolean


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """Values by the option's name; those not given are missing. Every method raises InputError."""

    values: Mapping[str, Value]

    def read_text(self, name: str, default: str = "") -> str:
        """Return a single text."""
        value = self.values.get(name, default)
        return value.strip() if isinstance(value, str) else default

    def read_texts(self, name: str) -> list[str]:
        """Return the texts of a repeatable option."""
        value = self.values.get(name) or []
        return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []

    def switch(self, name: str) -> bool:
        """Return a boolean, by default False."""
        value = self.values.get(name, False)
        wanted = value if isinstance(value, bool) else read_boolean(str(value))
        if wanted is None:
            raise InputError(f"{value!r} is neither true nor false", source=f"--{name}", fix="write true or false")
        return wanted

    def read_choice(self, name: str, known: Sequence[str]) -> str:
        """Return one of the known values, by default the first."""
        found = self.read_text(name, known[0])
        if found not in known:
            raise InputError(f"unknown {name} {found!r}", source=f"--{name}", fix=f"known: {', '.join(known)}")
        return found

    def number(self, name: str) -> int | None:
        """Return a whole number of at least zero, or None if it is not given."""
        found = self.read_text(name)
        if not found:
            return None
        if not (found.isascii() and found.isdecimal() and len(found) < 10):
            raise InputError(f"{found!r} is not a whole number", source=f"--{name}")
        return int(found)

    def select_given(self, *names: str) -> dict[str, Value]:
        """Return those of ``names`` that are given."""
        return {name: self.values[name] for name in names if name in self.values}
