"""Renders a timeline as a self-contained HTML page, and as a Mermaid ``gantt`` for GitHub's job summaries.

Pure. Mermaid's syntax: version 11, ``packages/mermaid/src/diagrams/gantt/parser/gantt.jison``. A task's name ends at
``:``, a statement at ``;``, ``#`` and ``%%`` start comments, and some words start other statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ci_buildx.progress.frame import clip_text, count_columns
from ci_buildx.progress.step import drop_controls
from ci_buildx.progress.timeline.fold import fold_rows
from ci_buildx.progress.timeline.svg import DIGEST, TimelineCaption, escape_xml, format_duration, render_svg
from ci_buildx.progress.timeline.timeline import SpanKind, Timeline, TimelineRow

_STYLE = """
:root{color-scheme:light dark}
body{margin:0;font:14px/1.5 ui-sans-serif,system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;
background:#fff;color:#1f2328}
main{max-width:1280px;margin:0 auto;padding-bottom:48px}
.picture{overflow-x:auto}.picture svg{display:block;min-width:960px;width:100%;height:auto}
.row:hover>rect:first-of-type{fill:#3b82d61f}
#tip{position:fixed;display:none;max-width:560px;padding:8px 12px;border-radius:6px;pointer-events:none;
background:#1f2328;color:#fff;font-size:12.5px;box-shadow:0 4px 16px #0005;overflow-wrap:anywhere;z-index:9}
#tip b{display:block;font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;
margin-bottom:4px}
details{margin:8px 16px}summary{cursor:pointer;font-weight:600;padding:6px 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid #dfe4ea;vertical-align:top}
td.number,th.number{text-align:right;white-space:nowrap}
td.step{font:12px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}
td.section{white-space:nowrap;color:#59636e}tr.critical td.step{font-weight:600;box-shadow:inset 3px 0 #f0883e}
td.error{color:#d1242f}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#262c36}
td.section{color:#9198a1}td.error{color:#f85149}#tip{background:#e6edf3;color:#1f2328}}
"""
_SCRIPT = """
const tip=document.getElementById('tip');
for(const row of document.querySelectorAll('.row')){
 const title=row.querySelector('title');const [name,...facts]=title.textContent.split('\\n');
 row.setAttribute('aria-label',title.textContent);title.remove();
 row.addEventListener('mousemove',event=>{
  tip.replaceChildren(Object.assign(document.createElement('b'),{textContent:name}),
   ...facts.map(fact=>Object.assign(document.createElement('div'),{textContent:fact})));
  tip.style.display='block';
  const box=tip.getBoundingClientRect();
  tip.style.left=Math.max(8,Math.min(event.clientX+16,innerWidth-box.width-8))+'px';
  tip.style.top=(event.clientY+20+box.height>innerHeight?event.clientY-box.height-12:event.clientY+20)+'px';});
 row.addEventListener('mouseleave',()=>{tip.style.display='none'});}
"""


def render_page(timeline: Timeline, caption: TimelineCaption) -> str:
    """Return the text of an HTML file without external resources."""
    picture = render_svg(timeline, caption)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape_xml(caption.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<div class="picture">
{picture}</div>
<details open>
<summary>All steps</summary>
<table>
<thead><tr><th>Platform</th><th>Step</th><th class="number">Began</th><th class="number">Waited</th>\
<th class="number">Took</th><th>Result</th></tr></thead>
<tbody>
{"".join(_render_rows(timeline))}</tbody>
</table>
</details>
</main>
<div id="tip"></div>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _render_rows(timeline: Timeline) -> Iterator[str]:
    for row in timeline.rows:
        marked = ' class="critical"' if row.critical else ""
        waited = format_duration(row.waited) if row.waited >= 0.001 else ""
        yield (
            f'<tr{marked}><td class="section">{escape_xml(row.section)}</td><td '
            f'class="step">{escape_xml(row.name)}</td>'
            f'<td class="number">{max(0.0, row.begin - timeline.begin):.2f} s</td><td class="number">{waited}</td>'
            f'<td class="number">{format_duration(row.seconds)}</td>{_describe_result(row)}</tr>\n'
        )


def _describe_result(row: TimelineRow) -> str:
    if row.error:
        return f'<td class="error">{escape_xml(row.error)}</td>'
    return f"<td>{'cached' if row.cached else 'done'}</td>"


FAILED = "\u274c "
"""Mark of a failed step's name: colours alone do not distinguish bars for everyone."""
MOST_ROWS = 40
"""Maximum rows of a chart: GitHub limits Mermaid text to 50,000 characters, and longer charts are unreadable."""

_NAME_COLUMNS = 56
_ALIKE = str.maketrans(
    dict(
        zip(
            ':;#,%<>"`\\{}',
            "\u2236\u204f\uff03\u201a\uff05\u2039\u203a\u201d\u02bc\u2216\u2774\u2775",
            strict=True,
        )
    )
)
"""Characters with a meaning in Mermaid or in the surrounding Markdown, and look-alikes that replace them."""
_RESERVED = re.compile(
    r"(gantt|title|section|dateFormat|inclusiveEndDates|topAxis|axisFormat|tickInterval|includes|excludes|weekday|"
    r"weekend|todayMarker|accTitle|accDescr|click|href|call|\d{4}-)",
    re.IGNORECASE,
)


def render_gantt(timeline: Timeline, *, title: str = "") -> str:
    """Return the chart's text, to be placed between `` ```mermaid `` and `` ``` ``.

    Red bars (``crit``) failed, and a cross marks their names. Grey ones (``done``) are cached, light ones (``active``)
    are on the critical path. Mermaid's themes choose these colours.
    """
    shown = fold_rows(timeline, MOST_ROWS)
    lines = ["gantt", *([f"    title {_escape_name(title)}"] if title else []), "    dateFormat x"]
    lines += [f"    axisFormat {_choose_axis_format(shown.seconds)}", "    todayMarker off"]
    for name, rows in shown.group_sections():
        lines.append(f"    section {_escape_name(name)}")
        lines += (f"    {task}" for row in rows for task in _render_tasks(row, shown.begin))
    return "\n".join(lines) + "\n"


def _choose_axis_format(seconds: float) -> str:
    return "%S.%L" if seconds < 5 else "%Ss" if seconds < 60 else "%M:%S"


def _render_tasks(row: TimelineRow, begin: float) -> Iterator[str]:
    """Yield the task of a row: its longest run, with the total time of all runs in its name."""
    run = max(row.runs, key=lambda run: run.seconds)
    start = max(0, round((run.begin - begin) * 1000))
    end = max(start + 1, round((run.end - begin) * 1000))
    failed = row.kind is SpanKind.FAILED
    tag = "crit, " if failed else "done, " if row.cached else "active, " if row.critical else ""
    note = "cached" if row.cached and row.seconds < 0.0005 else format_duration(row.seconds)
    yield f"{FAILED if failed else ''}{_escape_name(row.name)} ({note}) :{tag}{start}, {end}"


def _escape_name(name: str) -> str:
    """Return a name that Mermaid parses as a single one."""
    name = DIGEST.sub("", " ".join(drop_controls(name, colours=False).split())).translate(_ALIKE)
    name = name if count_columns(name) <= _NAME_COLUMNS else clip_text(name, _NAME_COLUMNS - 1) + "…"
    return f"· {name}" if _RESERVED.match(name) or not name else name
