"""Types of the entries of the table in :mod:`~ci_buildx.settings.options`."""

from __future__ import annotations

from enum import Enum, StrEnum

from ci_buildx.model.record import dataclass

VARIABLE_PREFIX = "KUBE_BUILDER_"


class OptionKind(Enum):
    """Type of an option's value, and how one text holds several."""

    TEXT = "text"
    SWITCH = "switch"
    CHOICE = "choice"
    LINES = "one value per line"
    WORDS = "one value per line, or separated by commas"


class Reading(Enum):
    """How one text is split into the values of a list: docker's actions read their inputs differently."""

    RECORDS = "CSV records; quotes around a field are removed"
    FIELDS = "CSV records whose fields stay fields: a value is itself CSV"
    VERBATIM = "CSV records whose white space counts"
    LINES = "lines whose quotes are left to buildx's reader"


class OptionSurface(StrEnum):
    """Interfaces where a user can set an option."""

    CLI = "cli"
    GITHUB = "github"
    GITLAB = "gitlab"


class OptionGroup(StrEnum):
    """Headings of the help."""

    IMAGE = "Image"
    RESULT = "Result"
    CACHE = "Cache and secrets"
    STEPS = "Steps"
    BUILDER = "Builder"
    CLUSTER = "Cluster"
    METADATA = "Metadata"
    LOGIN = "Login"
    DISPLAY = "Display"


EVERYWHERE = frozenset(OptionSurface)
COMMAND_LINE = frozenset((OptionSurface.CLI,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. ``flags`` is empty for the positional context and for options that only CI systems offer.

    ``default`` is the value if the option is not set, "" for none; ``otherwise`` describes the default in words.
    ``reading`` is for lists in one text; with ``comments``, lines that begin with ``#`` are skipped. ``as_input`` is
    the help for an input of a CI system, if it differs. After changing an option run ``make bundle``, which writes the
    inputs and the tables of the pages.
    """

    name: str
    help: str
    group: OptionGroup
    flags: tuple[str, ...] = ()
    kind: OptionKind = OptionKind.TEXT
    metavar: str = ""
    default: str = ""
    otherwise: str = ""
    as_input: str = ""
    choices: tuple[str, ...] = ()
    surfaces: frozenset[OptionSurface] = EVERYWHERE
    reading: Reading = Reading.RECORDS
    comments: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets the option."""
        return VARIABLE_PREFIX + self.name.upper().replace("-", "_")

    @property
    def flag(self) -> str:
        """The long flag; for the positional option its metavar."""
        return self.flags[-1] if self.flags else self.metavar

    @property
    def description(self) -> str:
        """The help text with generated notes: whether the option may be repeated, and its default."""
        repeats = "; may be repeated" if self.repeatable else ""
        default = "" if self.kind is OptionKind.SWITCH else self.default or self.otherwise
        return f"{self.help}{repeats}" + (f" (default: {default})" if default else "")

    @property
    def repeatable(self) -> bool:
        """Whether the option may be set more than once."""
        return self.kind in (OptionKind.LINES, OptionKind.WORDS)


DEBUG = Option(
    name="debug",
    flags=("-D", "--debug"),
    kind=OptionKind.SWITCH,
    group=OptionGroup.DISPLAY,
    surfaces=COMMAND_LINE,
    help="log requests to the cluster, to buildkitd and to registries on stderr, without secrets",
)
"""Accepted by every verb, so it is defined outside of the table of build options and also listed there."""
