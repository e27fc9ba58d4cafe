"""Templates: what Go makes of them is recorded in vectors.json; what they cannot do is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.gotemplate.functions import DOCKER
from ci_buildx.gotemplate.kinds import GoValue
from ci_buildx.gotemplate.template import GoTemplate
from tests.unit.gotemplate.samples import FUNCTIONS, SAMPLE, VECTORS, evaluate


@pytest.mark.parametrize(("template", "text"), [pair for pair in VECTORS.items() if pair[1] is not None])
def test_writes_what_go_writes(template: str, text: str) -> None:
    assert evaluate(template) == text


@pytest.mark.parametrize("template", [template for template, text in VECTORS.items() if text is None])
def test_fails_where_go_fails(template: str) -> None:
    with pytest.raises(InputError):
        evaluate(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Autor}}", "--format: main.Sample has no field 'Autor'; did you mean 'Author'?"),
        ("{{.Author.Name}}", "--format: a value of kind string has no field 'Name'"),
        ("{{.None.Size}}", "--format: nil pointer evaluating *main.Entry.Size"),
        ("{{jsn .}}", "--format: unknown function 'jsn'; did you mean 'json'?"),
        ('{{template "x"}}', "--format: 'template' of Go's templates is not supported; functions: "),
        ('{{define "x"}}{{end}}', "--format: 'define' of Go's templates is not supported; functions: "),
        ("{{js .}}", "--format: 'js' of Go's templates is not supported; functions: "),
        ("{{.Entries}}", "--format: Go prints the address of a pointer; select one of its fields, or use json"),
        ("{{.Created.Format}}", "--format: a value of kind time.Time has no field 'Format'"),
        ("{{if .Big}}", "--format: {{if}} is not closed; close it with {{end}}"),
        ("{{.Size", "--format: the action is not closed; close it with }}"),
        ('{{"x}}', "--format: the quoted text is not closed"),
        ("\n\n{{.Size | 3}}", "--format: a value is piped into one that is not a function (line 3 of the template)"),
        ("{{.Size 3}}", "--format: .Size is not a function and does not accept arguments"),
        ("{{$x}}", "--format: undefined variable '$x'"),
        ("{{break}}", "--format: {{break}} is outside of {{range}}"),
        ('{{printf "%+v" .}}', "--format: printf: %+v is not supported; remove its flags"),
        ('{{printf "%p" .}}', "--format: printf: %p is not supported; known: %v, %s"),
        ('{{printf "%d" .Author}}', "--format: printf: %d does not fit a value of kind string"),
        ('{{printf "%d"}}', "--format: printf: %d has no value"),
        ('{{printf "x" .Size}}', "--format: printf: 1 values more than directives"),
        ("{{index .Env 2}}", "--format: index out of range: 2"),
        ("{{index .Env .Author}}", "--format: index of a list requires an integer, not a value of kind string"),
        ("{{range .Size}}{{end}}", "--format: range has more than 1000000 rounds"),
        ("{{eq .Size .Author}}", "--format: eq cannot compare int64 with string"),
        ("{{%}}", "--format: unexpected '%' in an action"),
        ("{{" + "(" * 200 + "1" + ")" * 200 + "}}", "--format: it is nested too deeply"),
    ],
)
def test_names_what_is_wrong(template: str, message: str) -> None:
    with pytest.raises(InputError) as failed:
        evaluate(template)
    assert str(failed.value).startswith(message)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{.Manifest}}", "Manifest"),
        (" {{- .Manifest -}}\n", "Manifest"),
        ("{{.Manifest.Digest}}", ""),
        ("{{json .Manifest}}", ""),
        ("x{{.Manifest}}", ""),
        ("{{$x := .Manifest}}", ""),
        ("", ""),
    ],
)
def test_knows_the_template_of_one_field(template: str, name: str) -> None:
    assert GoTemplate(template, FUNCTIONS, source="x").find_only_field() == name


def test_dockers_functions() -> None:
    value = GoValue(SAMPLE, {"Author": "the author's_x", "Env": ["a", "b"]})

    def run(template: str) -> str:
        return GoTemplate(template, DOCKER, source="x").execute(value)

    assert run("{{json .Env}}") == '["a","b"]'
    assert run('{{json "<"}}') == '"<"'
    assert run('{{join .Env ", "}}') == "a, b"
    assert run('{{range split "a,b" ","}}<{{.}}>{{end}}') == "<a><b>"
    assert run("{{title .Author}}") == "The Author's_x"
    assert run("{{upper .Author | lower}}") == "the author's_x"
    assert run('[{{pad "x" 1 2}}{{pad "" 1 2}}]') == "[ x  ]"
    assert run("{{truncate .Author 3}}{{truncate .Author 99}}") == "thethe author's_x"


_PIECES = st.sampled_from(
    (
        *("{{", "}}", "{{-", "-}}", " ", ".", ".Env", ".Any", "$", "$x", ":=", "=", "|", "(", ")", ",", "/*", "*/"),
        *("range", "if", "else", "end", "with", "json", "index", "printf", "eq", "nil", '"%v"', '"%5.1x"', "`"),
        *("1", "-1.5", "'c'", "é"),
    )
)


@given(st.lists(_PIECES, max_size=20).map("".join) | st.text(max_size=30))
def test_any_text_is_evaluated_or_refused(template: str) -> None:
    try:
        evaluate(template)
    except InputError as error:
        assert str(error).startswith("--format: ")
