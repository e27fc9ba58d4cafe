import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.settings import names

VALUES = {name: f"<{name}>" for name in names.STICKY_FIELDS}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{repo", "--sticky-key: unpaired '{' in '{repo'; fields are {repo}, {path}, {image}, {target}, {platform}"),
        ("repo}", "--sticky-key: unpaired '}' in 'repo}'; fields are {repo}, {path}, {image}, {target}, {platform}"),
        ("{repos}/x", "--sticky-key: unknown field {repos} in '{repos}/x'; did you mean 'repo'?"),
        ("{}", "--sticky-key: unknown field {} in '{}'; known: repo, path, image, target, platform"),
        ("{repo.__class__}", "--sticky-key: unknown field {repo.__class__} in '{repo.__class__}'; known: "),
        (
            "mine",
            "--sticky-key: 'mine' has no field, so every build would use the same replica; fields are {repo}, {path}",
        ),
    ],
)
def test_a_template_that_means_nothing_is_refused(template: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        names.parse_sticky_key(template, source="--sticky-key")
    assert str(caught.value).startswith(message)


@given(st.text(alphabet="{}ab/ \n") | st.text())
def test_any_text_is_a_template_or_an_input_error(text: str) -> None:
    try:
        made = names.parse_sticky_key(text, source="x")
    except InputError:
        return
    filled = made.fill(VALUES)
    assert "{" not in filled
    assert any(value in filled for value in VALUES.values())
