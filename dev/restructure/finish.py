import re,pathlib
p=pathlib.Path('pyproject.toml'); s=p.read_text()
a=s.index('layers = ['); b=s.index(']',a)
s=s[:a]+'''layers = [
    "ci_buildx.cli",
    "ci_buildx.ci",
    "ci_buildx.manage",
    "ci_buildx.build",
    "ci_buildx.runtime",
    "ci_buildx.builder",
    "ci_buildx.transport | ci_buildx.buildkit | ci_buildx.registry | ci_buildx.progress",
    "ci_buildx.session",
    "ci_buildx.kube | ci_buildx.fsutil | ci_buildx.settings",
    "ci_buildx.wire",
    "ci_buildx.model",
    "ci_buildx.errors",
'''+s[b:]
p.write_text(s)

def edit(path, *pairs):
    q = pathlib.Path(path)
    if not q.exists(): print("post: no", path); return
    t = q.read_text()
    for a, b in pairs:
        if a not in t: print("post: not in", path, ":", a[:60]); continue
        t = t.replace(a, b)
    q.write_text(t)
# wire imports nothing of ours
edit("ci_buildx/wire/http1.py", ("from ci_buildx.model.record import dataclass\n", "from typing import NamedTuple\n"), ("@dataclass(frozen=True, slots=True, kw_only=True)\nclass ResponseHead:", "class ResponseHead(NamedTuple):"))
edit("ci_buildx/wire/protobuf.py", ("from ci_buildx.model.record import dataclass\n", ""), ("from typing import Any,", "from typing import Any, NamedTuple,"), ("@dataclass(frozen=True, slots=True)\nclass MessageField:", "class MessageField(NamedTuple):"))

edit("tests/unit/job/test_cached_path.py", ("build._load()", "run._import_early()"),)
edit("tests/unit/job/test_cached_path.py",
 ('*(f"ci_buildx.builder.{name}" for name in ("autoscaler", "facts", "manifests", "podspec", "provision", "teardown")),',
  '*(f"ci_buildx.builder.{name}" for name in ("cluster_facts", "manifests.objects", "manifests.podspec")),\n    *(f"ci_buildx.builder.lifecycle.{name}" for name in ("provision", "teardown")),'),
 ('("checks", "failure", "gateway", "rpc")', '("checks", "failure", "gateway")'),
 ('*(f"ci_buildx.job.{name}" for name in ("calls", "clocks", "creation", "current", "stickiness", "waking")),',
  '*(f"ci_buildx.build.{name}" for name in ("calls", "context.mtimes", "context.sticky_key", "start_on_use")),\n    *(f"ci_buildx.manage.{name}" for name in ("create", "target")),'),
 ('("exec_plugin", "job_token", "refusal", "upgrade", "websocket")', '("exec_plugin", "oidc_token", "refusal", "websocket")'),
 ('("quiet", "summary", "terminal", "timeline")', '("summary", "terminal", "timeline")'),
 ('("execute", "gate", "portforward", "pump")', '("pump", "tunnel")'))
