import re
from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder import identity, labels
from ci_buildx.builder.identity import JobOrigin

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def origin(repository: str = "team/app", **rest: str) -> JobOrigin:
    return JobOrigin(system="github", repository=repository, **rest)


def test_name_has_slug_hash_and_suffix() -> None:
    made = identity.make_identity(origin("team/My_App.git"), suffix="x7k2p")
    assert re.fullmatch(r"kube-builder-my-app-[0-9a-f]{8}-x7k2p", made.name)


def test_equal_slugs_of_different_repositories_have_different_names() -> None:
    names = {identity.make_identity(origin(f"{team}/app"), suffix="x").name for team in ("a", "b")}
    assert len(names) == 2


def test_repository_without_usable_characters_still_has_a_name() -> None:
    assert identity.make_identity(origin("команда/сборка"), suffix="x").name.startswith("kube-builder-job-")


def test_random_suffix_uses_the_given_source() -> None:
    letters = cycle("bcd")
    assert identity.make_random_suffix(lambda _: next(letters)) == "bcdbcdbc"
    assert identity.make_random_suffix() != identity.make_random_suffix()


def test_gitlab_suffix_is_derived_and_differs_by_job() -> None:
    first = identity.make_gitlab_suffix("gitlab.example", "12", "345")
    assert first == identity.make_gitlab_suffix("gitlab.example", "12", "345")
    assert first != identity.make_gitlab_suffix("gitlab.example", "12", "346")
    assert first != identity.make_gitlab_suffix("gitlab.example", "123", "45")


def test_a_gitlab_suffix_cannot_be_guessed_without_the_jobs_token() -> None:
    known = ("gitlab.example", "12", "345")
    made = identity.make_gitlab_suffix(*known, "glcbt-64_Zx9")
    # openssl dgst -sha256 -hmac glcbt-64_Zx9 of kube-builder, gitlab.example, 12 and 345 with a zero byte between each
    assert made == "80a3952720"
    assert made == identity.make_gitlab_suffix(*known, "glcbt-64_Zx9")
    assert len({made, identity.make_gitlab_suffix(*known), identity.make_gitlab_suffix(*known, "glcbt-64_Zx8")}) == 3


def test_labels_and_annotations() -> None:
    made = identity.make_identity(
        origin(run="71/2", job="build (arm64)", url="https://ci.example/runs/71"), suffix="x", nonce="n"
    )
    assert made.labels[labels.MANAGED_BY] == "kube-builder"
    assert made.labels[labels.BUILDER] == made.name
    assert made.labels[labels.RUN] == "71-2"
    assert made.labels[labels.JOB] == "build-arm64"
    assert made.annotations == {
        "kube-builder.dev/repository": "team/app",
        "kube-builder.dev/run-url": "https://ci.example/runs/71",
        "kube-builder.dev/nonce": "n",
    }


def test_what_is_empty_is_not_marked() -> None:
    made = identity.make_identity(origin(), suffix="x")
    assert labels.RUN not in made.labels
    assert labels.RUN_URL not in made.annotations


def test_expiry_is_rfc_3339_after_lifetime_and_margin() -> None:
    assert identity.make_expiry(0.0, 3600) == "1970-01-01T01:01:00Z"


@given(st.text(), st.text(), st.text())
def test_everything_has_the_syntax_that_kubernetes_wants(repository: str, run: str, job: str) -> None:
    suffix = identity.make_gitlab_suffix("host", run, job, repository)
    made = identity.make_identity(origin(repository, run=run, job=job), suffix=suffix)
    assert DNS_LABEL.fullmatch(made.name)
    assert len(f"{made.name}-mips64le") <= 63
    assert all(LABEL_VALUE.fullmatch(value) for value in made.labels.values())


def test_annotations_hold_no_login_of_a_url() -> None:
    """Everyone who may look at the builder reads them."""
    source = JobOrigin(
        system="jenkins",
        repository="ann:seeded-pass@git.example/team/app.git",
        url="https://ann:seeded-pass@ci.example/job/1?token=seeded-token",
    )
    made = identity.make_identity(source, suffix="x")
    assert "seeded" not in repr(made)
    assert made.annotations[labels.RUN_URL] == "https://xxxxx:xxxxx@ci.example/job/1?token=xxxxx"
