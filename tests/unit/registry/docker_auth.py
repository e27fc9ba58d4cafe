"""Entries of a docker configuration."""

from __future__ import annotations

from base64 import b64encode


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": b64encode(f"{username}:{password}".encode()).decode()}
