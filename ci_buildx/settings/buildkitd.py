"""buildkitd's flags and configuration file, and the files that it names.

Files that ``[registry."…"]`` names are on this machine, but buildkitd runs in a pod. As in buildx 0.38.2
(``util/confutil/container.go``, LoadConfigFiles), they are copied into the builder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import InputError
from ci_buildx.model import secret
from ci_buildx.model.documents import MalformedDocument, parse_toml
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import RegistryFiles, RegistryKeyPair
from ci_buildx.settings.contexts import refuse_escape

if TYPE_CHECKING:
    from ci_buildx.settings.driver_opts.outside import ExternalInputs

_POSITION = compile_lazily(r"\s*\(at line (?P<line>\d+), column (?P<column>\d+)\)")


def read_config(text: str, *, source: str, cwd: Path, env: Mapping[str, str]) -> str:
    """Read a ``buildkitd.toml`` and check its syntax; errors locate the problem as ``file:line:column``.

    Returns the text unchanged. Raises InputError if the file cannot be read or is not valid TOML.
    """
    from ci_buildx.settings.driver_opts.outside import ExternalInputs

    return check_config(ExternalInputs(env=env, cwd=cwd).read(text, source=source), name=text, source=source)


def check_config(config: str, *, name: str, source: str) -> str:
    """Return a text after checking that it is valid TOML; errors call it ``name``. Raises InputError."""
    try:
        parse_toml(config)
    except MalformedDocument as error:
        raise InputError(_locate_error(name, str(error)), source=source) from error
    return config


def _locate_error(file: str, reason: str) -> str:
    match = _POSITION.search(reason)
    place = f"{file}:{match['line']}:{match['column']}" if match else f"{file}: at its end"
    return f"{place}: {_POSITION.sub('', reason).replace(' (at end of document)', '')}"


def parse_flags(text: str, *, source: str) -> tuple[str, ...]:
    """Split flags of buildkitd like a shell.

    Their names are not checked: only buildkitd knows them. Raises InputError for unbalanced quotes and non-flags.
    """
    if not text:
        return ()
    import shlex

    try:
        flags = shlex.split(text)
    except ValueError as error:
        raise InputError(
            f"cannot split {text!r}: {str(error).lower()}", source=source, fix="close the quote"
        ) from error
    if flags and not flags[0].startswith("-"):
        raise InputError(f"{flags[0]!r} is not a flag", source=source, fix="flags begin with '-'")
    return tuple(flags)


_FIX = "name a file on this machine; it is copied into the builder"


def read_registry_files(config: str, *, source: str, cwd: Path, env: Mapping[str, str]) -> tuple[RegistryFiles, ...]:
    """Read the files of ``ca`` and ``keypair`` of each registry.

    Raises InputError for a file that is missing or holds no PEM, and for a key that does not match its certificate.
    """
    if "registry" not in config:
        return ()
    from ci_buildx.settings.driver_opts.outside import ExternalInputs

    section = parse_toml(config).get("registry")
    hosts = section.items() if isinstance(section, dict) else ()
    files = ExternalInputs(env=env, cwd=cwd)
    found = (_read_files(host, options, source, files) for host, options in hosts if isinstance(options, dict))
    return tuple(one for one in found if one.authorities or one.keypairs)


def _read_files(host: str, options: Mapping[str, Any], source: str, files: ExternalInputs) -> RegistryFiles:
    place = f'{source}: [registry."{host}"]'
    authorities, keypairs = options.get("ca", []), options.get("keypair", [])
    if not isinstance(authorities, list) or not all(isinstance(file, str) for file in authorities):
        raise InputError("ca is not a list of files", source=place, fix='write ca = ["FILE"]')
    if not isinstance(keypairs, list) or not all(_is_pair(pair) for pair in keypairs):
        raise InputError(
            "keypair is not a list of files", source=place, fix='write keypair = [{key="FILE", cert="FILE"}]'
        )
    return RegistryFiles(
        host=host,
        authorities=tuple(_read_authority(file, f"{place} ca", files) for file in authorities),
        keypairs=tuple(_read_pair(pair, f"{place} keypair", files) for pair in keypairs),
    )


def _read_pair(pair: Mapping[str, str], source: str, files: ExternalInputs) -> RegistryKeyPair:
    """Read a client certificate and its key; reject keys that do not match, which buildkitd could not use either."""
    import ssl

    certificate, key = _read_text(pair["cert"], source, files), Secret(_read_text(pair["key"], source, files))
    with secret.open_private_file(certificate.encode() + b"\n" + key.reveal()) as name:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(name, password="")
        except OSError as error:
            names = f"{pair['cert']!r} and {pair['key']!r}"
            fix = "name a certificate and its private key, both in PEM format, the key without a passphrase"
            raise InputError(f"{names} do not match", source=source, fix=fix) from error
    return RegistryKeyPair(certificate=certificate, key=key)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, dict) and isinstance(pair.get("key"), str) and isinstance(pair.get("cert"), str)


def _read_authority(file: str, source: str, files: ExternalInputs) -> str:
    _read_text(file, source, files)
    return files.read_certificates([file], source=source)


def _read_text(file: str, source: str, files: ExternalInputs) -> str:
    path = refuse_escape(files.cwd / file, source=source, env=files.env)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a text file"
        raise InputError(f"cannot read {file!r}: {reason}", source=source, fix=_FIX) from error
    if "-----BEGIN " not in text:
        raise InputError(f"{file!r} is not a PEM file", source=source, fix=_FIX)
    return text
