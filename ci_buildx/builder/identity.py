"""What a builder is called and how it is marked, fixed before anything of it exists."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence

from ci_buildx.builder import labels as builder_labels
from ci_buildx.model.record import dataclass, field

PREFIX = "kube-builder-"
EXPIRY_MARGIN = 60
"""Seconds from the end of the compute to the moment when a reaper may remove what is left."""

_LONGEST = 54
"""Characters of a name: with ``-`` and a node's name it is still a DNS label of 63."""
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, no digits that look like letters: a suffix spells no word (as in apimachinery's ``util/rand``)."""
_SUFFIX_LENGTH = 8
_HASH_LENGTH = 8
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrigin:
    """Where a job comes from.

    ``system`` is ``github``, ``gitlab`` or ``local``; ``repository`` its path (``group/project``) or, locally, any
    text that stays the same from build to build; ``run``, ``job`` and ``url`` may be empty. ``trust`` is the scope
    that may use its builder, "" for protected refs and for people.
    """

    system: str
    repository: str
    run: str = ""
    job: str = ""
    url: str = ""
    trust: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobIdentity:
    """A builder's name (also that of its namespace, where it has its own), labels and annotations."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def make_identity(origin: JobOrigin, *, suffix: str, nonce: str = "") -> JobIdentity:
    """The identity ``kube-builder-<slug>-<hash>-<suffix>``.

    The slug is for people, the hash tells repositories with one slug apart, the suffix tells jobs apart. ``nonce``
    tells runs apart that have one name; by default it is random.
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
        builder_labels.REPOSITORY: origin.repository,
        builder_labels.RUN_URL: origin.url,
        builder_labels.TRUST: origin.trust,
        builder_labels.NONCE: nonce or os.urandom(_NONCE_BYTES).hex(),
    }
    return JobIdentity(
        name=name,
        labels={key: value for key, value in marks.items() if value},
        annotations={key: value for key, value in notes.items() if value},
    )


def _choose(letters: Sequence[str]) -> str:
    """Any letter, each as likely as the others: ``secrets.choice`` without what that imports."""
    while (byte := os.urandom(1)[0]) >= 256 - 256 % len(letters):
        continue
    return letters[byte % len(letters)]


def make_random_suffix(choose: Callable[[Sequence[str]], str] = _choose) -> str:
    """A suffix that no other job has: GitHub's matrix legs share run, job and attempt."""
    return "".join(choose(_ALPHABET) for _ in range(_SUFFIX_LENGTH))


def make_gitlab_suffix(host: str, project: str, job: str, token: str = "") -> str:
    """A suffix derived from CI_SERVER_HOST, CI_PROJECT_ID, CI_JOB_ID and CI_JOB_TOKEN.

    ``after_script`` runs in another shell that inherits nothing but these, and must find the builder. Everything but
    the ``token`` is known to others, who could take the name before the job does; where there is none, they can.
    """
    known = "\0".join((host, project, job)).encode(errors="surrogateescape")
    if not token:
        return hashlib.sha256(known).hexdigest()[: _SUFFIX_LENGTH + 2]
    import hmac

    key = token.encode(errors="surrogateescape")
    return hmac.new(key, b"kube-builder\0" + known, hashlib.sha256).hexdigest()[: _SUFFIX_LENGTH + 2]


def make_expiry(now: float, lifetime: float) -> str:
    """When a builder made at ``now`` (epoch seconds of the API server's clock) has expired, as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + lifetime + EXPIRY_MARGIN))


def _make_slug(repository: str) -> str:
    """The last part of the path in characters of a DNS label."""
    last = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")


def _hash_text(text: str, length: int) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:length]
