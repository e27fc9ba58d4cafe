"""What options take from outside: files, and the proxies of the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import Proxy
from ci_buildx.settings.driver.template import check_template

_PEM = "-----BEGIN "


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The environment, and the folder that names of files start from."""

    env: Mapping[str, str]
    cwd: Path

    def proxy(self, *, source: str) -> Proxy:
        """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say, also in lower case. Raises InputError if there is none."""
        http, https = self._variable("HTTP_PROXY"), self._variable("HTTPS_PROXY")
        if not http and not https:
            raise InputError("neither HTTP_PROXY nor HTTPS_PROXY is set", source=source, fix="set one of them")
        excepted = (host.strip() for host in self._variable("NO_PROXY").split(","))
        return Proxy(
            http=Secret(http) if http else None,
            https=Secret(https) if https else None,
            no_proxy=tuple(host for host in excepted if host),
        )

    def certificates(self, items: Sequence[str], *, source: str) -> str:
        """The PEM text of certificates that are given as text or as files. Raises InputError for anything else."""
        texts = [item if _PEM in item else self.read(item, source=source) for item in items]
        for item, text in zip(items, texts, strict=True):
            _check_certificates(text, "the text" if item is text else item, source)
        return "".join(f"{text.strip()}\n" for text in texts)

    def template(self, value: Any, *, source: str) -> Mapping[str, Any]:
        """A pod template that is given as a mapping, as YAML or JSON text, or as a file of it. Raises InputError."""
        if isinstance(value, str):
            from ci_buildx.settings.driver.yamltext import load_mapping

            inline = "\n" in value or value.startswith("{")
            name = "" if inline else value
            value = load_mapping(value if inline else self.read(value, source=source), name=name, source=source)
        return check_template(value, source=source)

    def read(self, name: str, *, source: str) -> str:
        """The text of a file."""
        try:
            return (self.cwd / name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"cannot read {name!r}: {reason}", source=source) from error

    def _variable(self, name: str) -> str:
        """Lower case first, as curl and Go have it."""
        return self.env.get(name.lower()) or self.env.get(name, "")


def _check_certificates(text: str, name: str, source: str) -> None:
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"{name} holds no PEM certificate", source=source, fix="give files with '-----BEGIN CERTIFICATE-----'"
        ) from error
