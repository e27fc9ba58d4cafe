"""`--format`: names of formats, templates for each row, tables with titles of columns; TOML as buildx shows it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ci_buildx.buildkit.messages import UsageRecord
from ci_buildx.cli import du, inspect, ls, templates
from ci_buildx.cli.process import ProcessContext
from ci_buildx.cli.templates import OutputFormat
from ci_buildx.cli.toml_text import normalize_toml
from ci_buildx.errors import InputError
from ci_buildx.manage.survey import CacheUsage
from ci_buildx.manage.target import CurrentBuilder
from tests.unit.cli.replicas import AMD64, seat, surveyed

CHOSEN = CurrentBuilder(builder="kube", namespace="buildkit")
WHERE = "kubernetes:///kube?deployment=kube0&namespace=buildkit"


def context() -> tuple[ProcessContext, io.StringIO]:
    stdout = io.StringIO()
    return ProcessContext(env={}, cwd=Path("/"), stdout=stdout, stderr=io.StringIO()), stdout


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("", OutputFormat(name="table")),
        ("json", OutputFormat(name="json")),
        ("{{json .}}", OutputFormat(name="json")),
        ("{{ . | json }}", OutputFormat(name="json")),
        ("{{.Name}}: {{.Status}}", OutputFormat(template="{{.Name}}: {{.Status}}")),
        (r"table {{.Name}}\t{{.Status}}", OutputFormat(name="table", template="{{.Name}}\t{{.Status}}")),
    ],
)
def test_formats(text: str, shape: OutputFormat) -> None:
    assert templates.read_format(text, ("table", "json")) == shape


def list_builders(template: str) -> str:
    around, stdout = context()
    found = surveyed(seat("kube0-a", named=("linux/amd64",), runs=AMD64))
    shape = templates.read_format(template, ls.FORMATS)
    ls.write_template(shape, [found], CHOSEN, around, whole=False)
    return stdout.getvalue()


def test_each_builder_and_each_node_is_a_row() -> None:
    assert list_builders("{{.Name}}: {{.DriverEndpoint}}") == f"kube: kubernetes\nkube0-a: {WHERE}\n"
    assert list_builders("{{.Name}} {{.Platforms}}").splitlines()[1] == (
        "kube0-a linux/amd64*, linux/amd64/v2, linux/amd64/v3, linux/386"
    )
    assert list_builders("{{upper .Name}}|{{.LastActivity}}") == "KUBE|\nKUBE0-A|\n"


def test_a_table_has_titles_marks_and_short_lists() -> None:
    assert list_builders(r"table {{.Name}}\t{{upper .Status}}\t{{.Platforms}}") == (
        "NAME/NODE     STATUS    PLATFORMS\n"
        "kube*\n"
        " \\_ kube0-a   RUNNING   linux/amd64* (+3), linux/386\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nam}}", "--format: builder has no field 'Nam'; did you mean 'Name'?"),
        ("{{.Name", "--format: "),
        ("{{frobnicate .Name}}", "--format: "),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list_builders(template)
    assert str(caught.value).startswith(message)


def test_records_of_the_cache() -> None:
    record = UsageRecord("abc", True, False, 4096, 0.0, 60.0, 3, "mount", "exec.cachemount", True, ("p", "q"))
    found = [CacheUsage(pod="kube0-a", record=record)]
    around, stdout = context()
    du.write_template(templates.read_format("{{.ID}}: {{.Size}} {{.UsageCount}}", du.FORMATS), found, 120.0, around)
    du.write_template(templates.read_format('{{join .Parents "+"}} {{.Shared}}', du.FORMATS), found, 120.0, around)
    du.write_template(templates.read_format(r"table {{.ID}}\t{{.Size}}", du.FORMATS), found, 120.0, around)
    assert stdout.getvalue() == "abc: 4.096kB 3\np+q true\nID        SIZE\nabc*      4.096kB*\n"


def test_inspect_has_the_fields_of_its_json() -> None:
    around, stdout = context()
    value = ls.describe_builder(surveyed(seat("kube0-a", runs=AMD64)), CHOSEN)
    shape = templates.read_format("{{.Name}} {{range .Nodes}}{{.Status}} {{.DriverOpts.namespace}}{{end}}", ls.FORMATS)
    inspect.write_value(value, shape, around)
    inspect.write_value(value, templates.read_format("{{(index .Nodes 0).GCPolicy}}", ls.FORMATS), around)
    assert stdout.getvalue().splitlines()[0] == "kube running buildkit"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '# x\ndebug = true\ninsecure-entitlements = [ "network.host", "a" ]\n\n[log]\n  format = "text"\n',
            "debug = true\ninsecure-entitlements = ['network.host', 'a']\n\n[log]\nformat = 'text'\n",
        ),
        (
            '[registry."h:5"]\nca=["x\'y"]\n[[registry."h:5".keypair]]\nkey="k"\n',
            "[registry]\n[registry.'h:5']\nca = [\"x'y\"]\n\n[[registry.'h:5'.keypair]]\nkey = 'k'\n",
        ),
        ("a = {b = 1.5, c = false}\n", "[a]\nb = 1.5\nc = false\n"),
        ("", ""),
        ("not toml", "not toml"),
    ],
)
def test_toml(text: str, shown: str) -> None:
    assert normalize_toml(text) == shown
