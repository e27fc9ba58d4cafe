"""docs/commands.md: the reference of the verbs for builders, generated from their parsers."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from ci_buildx.cli.main import VERBS
from ci_buildx.cli.parser import VerbParser

_HEAD = """\
# Commands

What `kube-builder VERB --help` says of the verbs for builders. Written by `python -m bundle.commands`.

Verbs for builders have buildx's names, options and look where buildx has them. What is different, and why:

- **A builder is its objects in the cluster**: a Secret with its certificates, and a Deployment (or a StatefulSet, where
  its state has a volume) for each node. Every machine that reaches the cluster sees the same builders, and nothing
  about them is kept in anybody's home folder. Of two who create one name at once, one gets it.
- **Which builder is the current one** (`use`) is a matter of the user and the machine: it is in
  `$XDG_STATE_HOME/kube-builder/current.json`, for each context of the kubeconfig. CI jobs that share one account of the
  cluster would redirect each other's builds otherwise. The Action and the GitLab template never look there.
  `build` uses the current builder, unless an option says what a new one should be like.
- **Each replica is shown as itself**, and `du` and `prune` look into the cache of each.
- **`stop` scales to nothing**, and a build starts the builder again. `rm` removes volumes, too; with `--keep-state`,
  or where a node has driver-opt `reclaim=retain`, they are named and stay for a node that is made with the same name.
- **Certificates last five years**; in their last half year, each build warns, and a builder that was stopped gets new
  ones when it starts.
- **Platforms that are named are preferred, not exclusive**, as in buildx; of several nodes for one platform, a
  repository's builds go to the same one, and different repositories are spread. What the chosen pod's buildkitd does
  not run, by itself or by an emulator of its image or its node, is refused before anything is sent. buildx sends it to
  the first node, where its first `RUN` fails ("exec format error"). Variants (`linux/amd64/v3`) are not checked.
- **`ls` shows the namespaces that you may look into**: all with the rights of [listing.yaml](rbac/README.md), else the
  context's, or that of `--namespace`.
- **`default-load` is the builder's**: where it was created with this driver-opt, a build of one platform that asks for
  no result loads the image into the docker daemon.
"""


_SHOWN = ("create", "use", "ls", "inspect", "stop", "scale", "logs", "du", "prune", "rm", "reap")


def page() -> str:
    """Return the complete page."""
    return "\n".join([_HEAD, *(_section(verb) for verb in _SHOWN)])


def _section(verb: str) -> str:
    parser: VerbParser = import_module(f"ci_buildx.cli.{verb}").make_parser()
    summary = VERBS[verb]
    lines = [f"## {verb}", "", f"{summary[0].upper()}{summary[1:]}.", "", f"    {parser.usage}", ""]
    lines += [*(parser.description or "").splitlines(), "", "| option | meaning |", "|---|---|"]
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    lines += [f"| {_invocation(action)} | {_escaped(action.help or '')} |" for action in actions]
    return "\n".join([*lines, ""])


def _invocation(action: argparse.Action) -> str:
    metavar = str(action.metavar or "")
    shown = ", ".join(action.option_strings) or metavar
    return _escaped(f"`{shown} {metavar}`" if action.option_strings and metavar else f"`{shown}`")


def _escaped(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|")


if __name__ == "__main__":
    (Path(__file__).resolve().parents[1] / "docs" / "commands.md").write_text(page(), encoding="utf-8")
