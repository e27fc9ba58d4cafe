"""What buildkitd 0.34.2 says of registries that turned it away (recorded), and the fix that is added."""

import pytest

from ci_buildx.errors import SolveError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.advice import add_advice
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin

LOGINS = {
    ("mine.io", ""): RegistryLogin(username="me", secret=Secret("s3cret")),
    ("token.io", ""): RegistryLogin(username="", secret=Secret(""), identity_token=Secret("r3fresh")),
}
STORE = CredentialStore([DockerConfig(origin="test", auths=LOGINS, helpers={}, store="")], env={})
SOURCE = "failed to solve: {0}/a: failed to resolve source metadata for {0}/a:latest: "
HEAD = "unexpected status from HEAD request to https://{0}/v2/a/manifests/latest: "
REQUEST = 'failed to do request: Head "https://{0}/v2/a/manifests/latest": '
DENIED = (
    "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope"
)

PLAIN = (
    "the registry does not accept attestations as OCI artifacts: set BUILDX_NO_DEFAULT_OCI_ARTIFACT=true or "
    "oci-artifact=false of the output, or build with --provenance=false"
)


@pytest.mark.parametrize(
    ("message", "host", "fix"),
    [
        (SOURCE + HEAD + "401 Unauthorized", "r.io:5000", "log in to {} (docker login) or set DOCKER_AUTH_CONFIG"),
        (
            SOURCE + HEAD + "401 Unauthorized",
            "mine.io",
            "the login 'me' for {} is wrong or has insufficient permissions",
        ),
        (
            "failed to push {0}/a: " + HEAD + "403 Forbidden",
            "token.io",
            "the identity token for {} has insufficient permissions",
        ),
        (SOURCE + DENIED, "r.io:5000", "log in to {} (docker login) or set DOCKER_AUTH_CONFIG"),
        (
            "failed to push {0}/a/b:1: denied",
            "mine.io",
            "the login 'me' for {} is wrong or has insufficient permissions",
        ),
        ("failed to push {0}/a/b:1: unauthorized: x", "r.io", "log in to {} (docker login) or set DOCKER_AUTH_CONFIG"),
        (
            "failed to solve: failed to push {0}/a: push " + DENIED.removeprefix("pull ") + ": authorization failed",
            "r.io",
            "log in to {} (docker login) or set DOCKER_AUTH_CONFIG",
        ),
        (
            SOURCE + HEAD + "429 Too Many Requests",
            "r.io",
            "log in to {} (docker login), try again later or use a mirror",
        ),
        (SOURCE + HEAD + "429 Too Many Requests", "mine.io", "try again later or use a mirror"),
        (
            SOURCE + HEAD + "500 Internal Server Error",
            "r.io",
            "{} itself failed: try again later, or contact its operators",
        ),
        (
            SOURCE + REQUEST + "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "r.io:5000",
            'declare [registry."{}"] ca (its authority) or insecure = true in --buildkitd-config',
        ),
        (
            SOURCE + REQUEST + "http: server gave HTTP response to HTTPS client",
            "r.io:5000",
            'declare [registry."{}"] http = true in --buildkitd-config',
        ),
        # Aliyun's ACR and GitLab's registry.
        ("failed to push {0}/a:1: denied: unknown manifest class for application/vnd.oci.empty.v1+json", "r.io", PLAIN),
        (
            "failed to push {0}/a:1: 400 Bad\nconfig media type application/vnd.oci.empty.v1+json is not allowed",
            "r.io",
            PLAIN,
        ),
        (SOURCE + "{0}/a:latest: not found", "r.io", "check the name and the tag of {}/a:latest"),
        ('failed to solve: process "/bin/sh -c exit 1" did not complete successfully: exit code: 1', "r.io", ""),
    ],
)
def test_advice(message: str, host: str, fix: str) -> None:
    advised = add_advice(SolveError(message.format(host), vertex="v", excerpt="e"), STORE)
    assert advised.message == message.format(host)
    assert advised.fix == fix.format(host)
    assert (advised.vertex, advised.excerpt) == ("v", "e")


def test_of_a_builder_that_was_there_the_configuration_is_decided() -> None:
    message = (SOURCE + REQUEST + "http: server gave HTTP response to HTTPS client").format("r.io:5000")
    fix = 'declare [registry."r.io:5000"] http = true in the --buildkitd-config that builder kube is created with'
    assert add_advice(SolveError(message), STORE, "kube").fix == fix


def test_a_fix_that_is_known_stays() -> None:
    failure = SolveError((SOURCE + DENIED).format("r.io"), fix="known")
    assert add_advice(failure, STORE) is failure
