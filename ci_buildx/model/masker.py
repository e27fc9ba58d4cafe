"""Recognizes and masks secrets in everything that is printed.

Credentials are: logins and tokens in URLs (:mod:`~ci_buildx.model.plaintext`), values with the name of a credential
(variables, build arguments, fields of caches and outputs, inputs), and texts that look like one
(:mod:`~ci_buildx.model.plaintext`).
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from ci_buildx.model.documents import MalformedDocument, parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import (
    MASK,
    WORDS,
    describe_pasted,
    find_logins,
    is_selection_key,
    mask_logins,
    mask_tokens,
)

SHORTEST = 8
"""Characters of the shortest secret that is searched for: shorter texts occur in too many other words."""
SECRET_INPUTS = frozenset(("password", "secrets", "registries", "registry-auth", "github-token", "kubeconfig"))
"""Inputs of the CI systems whose whole value is secret."""
_SHORTEST_LINE = 16
"""Characters of the shortest line of a multi-line secret: shorter lines (``kind: Config``) are not secrets."""
_LONGEST = 1 << 16
"""Characters of the longest secret that is also searched for in other spellings: messages never hold larger files."""
_MOST_NAMES = 64
"""Names in one line that are looked at: more are not options or fields but data."""
_LONGEST_VALUE = 1 << 12
"""Characters of a value within a line that are looked at."""
_MOST_ENDS = 8
"""Possible ends of such a value: the first are the plausible ones, and each is searched for in all spellings."""
_SECRET = frozenset(
    (
        *("apikey", "auth", "credential", "credentials", "key", "pass", "password", "passphrase", "pword", "passwd"),
        *("pw", "secret", "token", "sshpass"),
    )
)
"""Words of names, between underscores, that mark a secret."""
_ENDS = ("password", "passwd", "passphrase")
"""Ends of words that mark a secret, as in ``PGPASSWORD``."""
_SEPARATORS = str.maketrans(".:/-", "____")
_HARMLESS = frozenset(("public", "file", "version"))
_OTHER_KEYS = (["sticky", "key"], ["cache", "key"], ["sort", "key"], ["primary", "key"])
_ATTRIBUTE = compile_lazily(rf"(?i)\w*(?:{WORDS})\w*")
_PLACES = frozenset(
    (
        *("sock", "path", "dir", "folder", "url", "host", "user", "name", "method", "mode", "type", "kind", "role"),
        *("provider", "backend", "scope", "namespace", "issuer", "server", "audience", "store"),
    )
)
_COMMIT = ("MESSAGE", "TITLE", "DESCRIPTION", "TAG_MESSAGE", "AUTHOR", "REF_NAME", "REF_SLUG", "BRANCH", "TAG")
_MERGE_REQUEST = ("TITLE", "DESCRIPTION", "LABELS", "SOURCE_BRANCH_NAME", "TARGET_BRANCH_NAME")
_OF_AUTHORS = frozenset(
    (
        *(f"CI_COMMIT_{name}" for name in _COMMIT),
        *(f"CI_MERGE_REQUEST_{name}" for name in _MERGE_REQUEST),
        *("CI_PROJECT_DESCRIPTION", "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME", "GIT_BRANCH", "CHANGE_BRANCH"),
        *("GITHUB_HEAD_REF", "GITHUB_BASE_REF", "GITHUB_REF", "GITHUB_REF_NAME"),
    )
)
"""Variables with texts of a commit's author, who could otherwise have any word masked."""
_ADDRESS = compile_lazily(r"[A-Za-z0-9.-]+:\d{1,5}")
"""A host with its port is not a secret, whatever the name of the variable."""
_OPTION = compile_lazily(r"--?[a-z][a-z-]*=")
_NO_CREDENTIALS = frozenset(("", "a text of several lines", "a text that is too long"))
"""What pasted texts look like that are not secrets by themselves, such as messages of commits."""
_INPUT = compile_lazily(r"^(?:INPUT_|KUBE_BUILDER_(?:INPUT_)?)(.+)")
_NAME = compile_lazily(r"(?<![\w.-])([\w.-]+)=")
_END = compile_lazily(r"[,\s\"]")
_FIELD_NAME = compile_lazily(r"\s*[-\"']?\s*[\w-]+[\"']?\s*:")
"""How a line of YAML or JSON begins; a ``NAME=VALUE`` line does not."""
_PROXY = compile_lazily(r"(?i)\w*_proxy")
_BARE_LOGIN = compile_lazily(r"[^\s:@/]*:(.+)@[^@\s]+")
"""``user:password@host:port``, which curl and most clients accept as a proxy."""
_HTML_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_HTML = {**_HTML_TEXT, ord('"'): "&quot;", ord("'"): "&#x27;"}
"""The replacements of ``html.escape``, whose module takes a millisecond to import."""
_NAMED = compile_lazily(r"(?:build-arg:|label:|annotation(?:-[\w-]+)?(?:\[[^]]*\])?\.)(.+)")
"""Attributes of a frontend and an exporter that contain a name of the user's choice."""
_SHORTEST_CUT = 6
"""Characters that are left of a secret which a limit has cut."""
_FIELDS = ("attributes", "Attrs")
"""Keys that hold the fields of a cache or an output in ``--print solve``."""


def is_secret_name(name: str) -> bool:
    """Return whether the name of a variable, build argument or label marks it as a secret.

    The rule is that of a build check (BuildKit 0.34.2, ``dockerfile2llb/validations.go``, SecretsUsedInArgOrEnv), also
    for ``npmToken`` and ``npm-token``, and for names of well-known programs (``PGPASSWORD``, ``MYSQL_PWD``).
    """
    words = _split_name(name)
    if not _HARMLESS.isdisjoint(words) or words[-2:] in _OTHER_KEYS:
        return False
    marked = not _SECRET.isdisjoint(words) or words[-1] == "pat" or "pwd" in words[1:]
    return marked or any(word.endswith(_ENDS) for word in words)


def is_secret_attribute(name: str) -> bool:
    """Return whether a field of a cache or an output is a credential (s3, azblob and gha in BuildKit 0.34.2)."""
    return bool(_ATTRIBUTE.fullmatch(name))


def find_secrets(text: str) -> Iterator[str]:
    """Yield the credentials in a value as a user wrote it: logins of URLs, and values with a secret's name.

    The end of such a value depends on its parser, so each possible end is yielded, unless it is too short to be
    searched for.
    """
    if text.lstrip().startswith("["):
        try:
            items = parse_json(text, strict=False)
        except ValueError:
            items = ()
        for item in items if isinstance(items, list) else ():
            yield from find_secrets(str(item))
    yield from find_logins(text)
    for line in text.splitlines() if "=" in text else ():
        for found in islice(_NAME.finditer(line), _MOST_NAMES):
            value = line[found.end() :][:_LONGEST_VALUE]
            if is_selection_key(line, found.start(1), found[1]):
                continue
            if is_secret_name(found[1]) or is_secret_attribute(found[1]):
                yield from (end for end in _list_ends(value) if len(end) >= SHORTEST)
            elif _PROXY.fullmatch(found[1]):
                yield from _find_proxy_logins(value)


def find_pair_secrets(name: str, value: str) -> Iterator[str]:
    """Yield the credentials in a build argument, unless they are too short to be searched for."""
    if is_secret_name(name) and len(value) >= SHORTEST:
        yield value
    elif _PROXY.fullmatch(name):
        yield from _find_proxy_logins(value)
    yield from find_logins(value)


def _find_proxy_logins(value: str) -> Iterator[str]:
    if "://" not in value and (found := _BARE_LOGIN.match(value.strip())):
        yield found[1]


def _list_ends(value: str) -> Iterator[str]:
    yield value
    yield value.strip().strip("\"'")
    yield value.replace('""', '"')
    for found in islice(_END.finditer(value), _MOST_ENDS):
        yield value[: found.start()].strip("\"'")
    if '"' in value:  # a quoted field may contain commas
        yield value.replace('""', "\0").partition('"')[0].replace("\0", '"')


def mask_secrets(text: str, hidden: Iterable[str]) -> str:
    """Return the text with ``***`` in place of ``hidden`` texts, logins of URLs, and apparent tokens and keys."""
    hidden = tuple(hidden)
    for secret in hidden:
        if len(secret) < _SHORTEST_LINE and secret.isalpha() and secret.islower():
            # A common word, such as postgres: masked as a word, not within others (postgresql).
            if secret in text:
                text = re.sub(rf"(?<!\w){secret}(?!\w)", MASK, text)
        else:
            text = text.replace(secret, MASK)
    if "…" in text:
        text = _mask_cut(text, hidden)
    return mask_tokens(mask_logins(text), MASK)


def _mask_cut(text: str, hidden: Iterable[str]) -> str:
    """Mask what a limit for a text's length has left of a secret before an ellipsis."""
    before, *others = text.split("…")
    parts = [before]
    for other in others:
        for secret in hidden:
            begin = parts[-1].rfind(secret[:_SHORTEST_CUT])
            if begin >= 0 and secret.startswith(parts[-1][begin:]):
                parts[-1] = parts[-1][:begin] + MASK
                break
        parts.append(other)
    return "…".join(parts)


def list_spellings(
    secrets: Iterable[str], *, shortest: int = SHORTEST, page: Callable[[str], Iterable[str]] = lambda _: ()
) -> tuple[str, ...]:
    """Return the secrets that can be searched for in all the spellings that other programs use, longest first.

    A secret of several lines is searched for as a whole and line by line. Secrets with fewer than ``shortest``
    characters are ignored. ``page`` adds the spellings of one output format.
    """
    forms: set[str] = set()
    for secret in secrets:
        if len(secret.strip()) >= shortest:
            forms |= {secret, secret.strip(), " ".join(secret.split())}
            lines = secret.splitlines()
            for text in (secret, *(line.strip() for line in lines if len(lines) > 1)):
                if len(text) <= _LONGEST and (text is secret or len(text) >= _SHORTEST_LINE):
                    spellings = (*_list_spellings(text), *page(text))
                    forms.update(form for form in spellings if len(form) >= min(shortest, len(text)))
    return tuple(sorted(forms, key=len, reverse=True))


def _list_spellings(text: str) -> Iterator[str]:
    for form in (text, unquote(text)):
        yield from (form, repr(form)[1:-1], json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1])
        data = _encode(form)
        yield from (quote(data, safe=""), quote(data), quote_plus(data))
        yield from (form.translate(_HTML), form.translate(_HTML_TEXT))
        yield form.replace("'", "'\"'\"'")  # shlex's quoting
    raw = _encode(text)
    if len(raw) >= SHORTEST:
        yield b64encode(raw).decode()
        for before in range(3):  # at each offset within encoded text, without the digits that its neighbours affect
            packed = b64encode(bytes(before) + raw).decode().rstrip("=")
            yield packed[(0, 2, 3)[before] : len(packed) - ((before + len(raw)) % 3 != 0)]


def _encode(text: str) -> bytes:
    """Return the bytes of a text; bytes that are not UTF-8 stand in variables as surrogates (PEP 383)."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate of JSON
        return text.encode(errors="surrogatepass")


def list_process_secrets(env: Mapping[str, str], argv: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that errors must not quote from the variables and arguments of this process."""
    return _list_process_secrets(tuple(env.items()), tuple(argv))


@lru_cache(4)
def _list_process_secrets(env: tuple[tuple[str, str], ...], argv: tuple[str, ...]) -> tuple[str, ...]:
    """Each note and each error asks for them again, and a long list of variables takes milliseconds."""
    return list_spellings((*find_environment_secrets(dict(env)), *_find_argument_secrets(argv)))


def find_environment_secrets(env: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets among the variables, unchanged."""
    for name, value in env.items():
        if name in _OF_AUTHORS:
            if describe_pasted(value) not in _NO_CREDENTIALS:
                yield value
            yield from find_logins(value)
            continue
        given = _INPUT.match(name)
        own = given[1].lower().replace("_", "-") if given else ""
        if own in SECRET_INPUTS and (own != "kubeconfig" or describe_pasted(value)):
            yield from _find_input_secrets(value)
        elif _is_secret_variable(name, value) or describe_pasted(value) not in _NO_CREDENTIALS:
            yield value
            yield from _find_json_secrets(value, named=_is_secret_variable(name, value))
        if "=" in value or "@" in value:
            yield from find_secrets(value)


def _find_json_secrets(value: str, *, named: bool) -> Iterator[str]:
    """Yield the values with a secret's name in a JSON text, such as the logins in DOCKER_AUTH_CONFIG.

    ``named``: the variable has a secret's name. In other texts a field that is only called ``key`` holds a name, such
    as that of a license in GitHub's context.
    """
    if not value.lstrip().startswith("{"):
        return
    try:
        waiting: list[Any] = [parse_json(value, strict=False)]
    except MalformedDocument:
        return
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        for key, inner in one.items() if isinstance(one, dict) else ():
            if not isinstance(inner, str):
                waiting.append(inner)
            elif (is_secret_name(key) or is_secret_attribute(key)) and (named or key != "key"):
                yield inner
                yield from filter(None, (_decode_login(inner).partition(":")[2],))


def _decode_login(text: str) -> str:
    """Return a decoded ``user:password``, "" if the text is no base64."""
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _is_secret_variable(name: str, value: str) -> bool:
    if not is_secret_name(name) or name.upper().startswith("CI_JOB_NAME_"):
        return False
    return _PLACES.isdisjoint(_split_name(name)) and not _is_place(value)


def _split_name(name: str) -> list[str]:
    """Return the words of ``NPM_TOKEN``, ``npmToken`` or ``npm-token`` in lower case."""
    text = name.translate(_SEPARATORS)
    if not (text.isupper() or text.islower()):
        humps = (f"_{one}" if one.isupper() and not before.isupper() else one for before, one in pairwise(text))
        text = text[:1] + "".join(humps)
    return text.casefold().split("_")


def _find_argument_secrets(argv: Iterable[str]) -> Iterator[str]:
    for argument in argv:
        yield from find_secrets(argument)
        name, _, value = argument.partition("=")
        for text in (value, value.partition("=")[2], name, argument):
            if describe_pasted(text) and not (text is argument and _OPTION.match(text)):
                yield text


def _find_input_secrets(value: str) -> Iterator[str]:
    """Yield the secrets of an input that is secret as a whole: all of it, and the values of ``name=value`` lines.

    The path of a file is not a secret.
    """
    if _is_place(value.strip()):
        return
    yield value
    for line in value.splitlines():
        name, mark, rest = line.partition(":")
        key = name.strip(" -\"'").replace("-", "_")
        if mark and is_secret_name(key) and not key.endswith(("_uri", "_url")):  # YAML or JSON
            yield from _list_ends(rest.strip())
        elif "=" in line and not _FIELD_NAME.match(line):
            yield line.partition("=")[2].strip()


def _is_place(value: str) -> bool:
    """Return whether the value is an address or an existing path on this machine."""
    if _ADDRESS.fullmatch(value):
        return True
    return value.startswith("/") and "\n" not in value and len(value) < 4096 and os.path.exists(value)  # noqa: PTH110


def mask_value(value: Any, hidden: Iterable[str] = ()) -> Any:
    """Return a value for JSON without secrets.

    Masked are ``hidden`` texts, and arguments, variables and fields with a secret's name.
    """
    hidden = tuple(hidden)
    if isinstance(value, str):
        return mask_secrets(value, hidden)
    if isinstance(value, list | tuple):
        return [mask_value(one, hidden) for one in value]
    if not isinstance(value, dict):
        return value
    shown = {mask_secrets(str(key), hidden): _mask_entry(str(key), one, hidden) for key, one in value.items()}
    if isinstance(value.get("value"), str) and is_secret_name(str(value.get("name", ""))):
        shown["value"] = MASK
    return shown


def _mask_entry(key: str, value: Any, hidden: tuple[str, ...]) -> Any:
    if (named := _NAMED.fullmatch(key)) and is_secret_name(named[1]):
        return MASK
    if key in _FIELDS and isinstance(value, dict):
        value = {name: MASK if is_secret_attribute(name) else one for name, one in value.items()}
    return mask_value(value, hidden)
