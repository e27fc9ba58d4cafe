"""A builder's name, labels and annotations, fixed before any of its objects exists."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence

from ci_buildx.builder import labels as builder_labels
from ci_buildx.model.plaintext import redact_url
from ci_buildx.model.record import dataclass, field

PREFIX = "kube-builder-"
EXPIRY_MARGIN = 60
"""Seconds from the end of a builder's pods until a reaper may delete its leftovers."""

_LONGEST = 54
"""Longest name in characters; with ``-`` and a node's name it still fits into a DNS label of 63."""
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of suffixes: no vowels and no look-alike digits, so no words (as in apimachinery's ``util/rand``)."""
_SUFFIX_LENGTH = 8
_HASH_LENGTH = 8
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrigin:
    """Origin of a job: CI system, repository, run and trust scope.

    ``system`` is ``github``, ``gitlab`` or ``local``. ``repository`` is its path (``group/project``) or, locally, any
    text that is the same for every build. ``run``, ``job`` and ``url`` may be empty. ``trust`` is the scope that may
    use the job's builder, "" for protected refs and for people.
    """

    system: str
    repository: str
    run: str = ""
    job: str = ""
    url: str = ""
    trust: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobIdentity:
    """A builder's name (also of its namespace, if it has its own), labels and annotations."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def make_identity(origin: JobOrigin, *, suffix: str, nonce: str = "") -> JobIdentity:
    """Make the identity ``kube-builder-<slug>-<hash>-<suffix>``.

    The slug is for people, the hash distinguishes repositories with the same slug, the suffix distinguishes jobs.
    ``nonce`` distinguishes runs with the same name; it is random by default.
    """
    digest = _hash_text(origin.repository, _HASH_LENGTH)
    room = _LONGEST - len(PREFIX) - len(f"-{digest}-{suffix}")
    slug = _make_slug(origin.repository)[:room].strip("-") or "job"
    name = f"{PREFIX}{slug}-{digest}-{suffix}"
    marks = {
        builder_labels.MANAGED_BY: builder_labels.MANAGER,
        builder_labels.BUILDER: name,
        builder_labels.CI_SYSTEM: builder_labels.sanitize(origin.system),
        builder_labels.REPOSITORY_HASH: digest,
        builder_labels.RUN: builder_labels.sanitize(origin.run),
        builder_labels.JOB: builder_labels.sanitize(origin.job),
    }
    notes = {
        # Annotations can be read by many; CI systems have URLs with logins and tokens.
        builder_labels.REPOSITORY: redact_url(origin.repository),
        builder_labels.RUN_URL: redact_url(origin.url),
        builder_labels.TRUST: origin.trust,
        builder_labels.NONCE: nonce or os.urandom(_NONCE_BYTES).hex(),
    }
    return JobIdentity(
        name=name,
        labels={key: value for key, value in marks.items() if value},
        annotations={key: value for key, value in notes.items() if value},
    )


def _choose(letters: Sequence[str]) -> str:
    """Choose a random letter, each equally likely; avoids the imports of ``secrets.choice``."""
    while (byte := os.urandom(1)[0]) >= 256 - 256 % len(letters):
        continue
    return letters[byte % len(letters)]


def make_random_suffix(choose: Callable[[Sequence[str]], str] = _choose) -> str:
    """Make a random suffix, unique to this job: GitHub's matrix legs share run, job and attempt."""
    return "".join(choose(_ALPHABET) for _ in range(_SUFFIX_LENGTH))


def make_gitlab_suffix(host: str, project: str, job: str, token: str = "") -> str:
    """Derive a suffix from CI_SERVER_HOST, CI_PROJECT_ID, CI_JOB_ID and CI_JOB_TOKEN.

    ``after_script`` runs in another shell that inherits only these variables, and must find the builder. Everything
    except ``token`` is known to others; without a token they can take the name before the job does.
    """
    known = "\0".join((host, project, job)).encode(errors="surrogateescape")
    if not token:
        return hashlib.sha256(known).hexdigest()[: _SUFFIX_LENGTH + 2]
    import hmac

    key = token.encode(errors="surrogateescape")
    return hmac.new(key, b"kube-builder\0" + known, hashlib.sha256).hexdigest()[: _SUFFIX_LENGTH + 2]


def make_expiry(now: float, lifetime: float) -> str:
    """Return when a builder created at ``now`` expires, as RFC 3339 in UTC.

    ``now`` is the API server's clock in epoch seconds, ``lifetime`` is in seconds.
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + lifetime + EXPIRY_MARGIN))


def _make_slug(repository: str) -> str:
    """Return the last part of the path, in characters of a DNS label."""
    last = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")


def _hash_text(text: str, length: int) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:length]
