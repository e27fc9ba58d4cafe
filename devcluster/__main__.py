"""`python -m devcluster`: a Kubernetes cluster with two nodes and three registries on this machine."""

import argparse
import os
import subprocess
import sys

from devcluster import layout
from devcluster.errors import DevclusterError


def main() -> int:
    """Run one verb; its exit code."""
    arguments = parser().parse_args()
    try:
        code: int = arguments.verb(arguments)
    except (DevclusterError, ValueError, FileNotFoundError) as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"devcluster: {error.cmd[0]} failed with {error.returncode}, see above", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    top.add_argument("--name", default="dev", help="the cluster's name (default: dev); several can run side by side")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("up", help="start it, or what is missing of it").set_defaults(verb=up)
    verbs.add_parser("down", help="remove every trace of it").set_defaults(verb=down)
    verbs.add_parser("status", help="look at every part; exit 1 unless all is well").set_defaults(verb=status)
    verbs.add_parser("env", help="print export lines for a shell to evaluate").set_defaults(verb=env)
    verbs.add_parser("programs", help="build all programs and print where they are").set_defaults(verb=build)
    logs_parser = verbs.add_parser("logs", help="show a process's log")
    logs_parser.add_argument("process", metavar="NAME", nargs="?", help="without it, the names are listed")
    logs_parser.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    logs_parser.set_defaults(verb=logs)
    exec_parser = verbs.add_parser("exec", help="run a command in the cluster's network namespace")
    exec_parser.add_argument("command", metavar="CMD", nargs="+", help="put -- before it")
    exec_parser.set_defaults(verb=execute)
    return top


def up(arguments: argparse.Namespace) -> int:
    """Start the cluster."""
    from devcluster import host
    from devcluster.up import up as bring_up

    cluster = layout.cluster(arguments.name)
    host.become_root()
    bring_up(cluster)
    print(f'cluster {cluster.name!r} is up: eval "$(python -m devcluster --name {cluster.name} env)"', file=sys.stderr)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Remove the cluster."""
    from devcluster import host
    from devcluster.down import down as bring_down

    cluster = layout.cluster(arguments.name)
    host.become_root()
    bring_down(cluster)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Print a line per part."""
    from devcluster import health, host

    host.become_root()
    findings = health.findings(layout.cluster(arguments.name))
    for finding in findings:
        print(finding)
    return int(any(finding.fault for finding in findings))


def env(arguments: argparse.Namespace) -> int:
    """Print the shell's variables."""
    from devcluster import environment

    print(environment.exports(existing(arguments.name)))
    return 0


def build(_: argparse.Namespace) -> int:
    """Build every program."""
    from devcluster import programs

    programs.build_all()
    for name, path in sorted(programs.installed().items()):
        print(f"{name} {path}")
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """Show a log, or the names of all."""
    cluster = existing(arguments.name)
    names = sorted(path.stem for path in cluster.run.glob("*.log"))
    if arguments.process is None:
        print("\n".join(names))
        return 0
    if arguments.process not in names:
        raise DevclusterError(f"no log {arguments.process!r}; there are: {', '.join(names)}")
    follow = ["-F"] if arguments.follow else []
    os.execvp("tail", ["tail", "-n", "200", *follow, str(cluster.run / f"{arguments.process}.log")])


def execute(arguments: argparse.Namespace) -> int:
    """Replace this process by the command."""
    from devcluster import environment, host, namespaces

    cluster = existing(arguments.name)
    host.become_root()
    os.environ.update(environment.variables(cluster))
    argv = [*namespaces.enter(cluster, mount=False), "--", *arguments.command]
    os.execv(argv[0], argv)


def existing(name: str) -> layout.Cluster:
    """The cluster of that name, which must have been brought up."""
    cluster = layout.cluster(name)
    if not cluster.kubeconfig.exists():
        raise DevclusterError(f"there is no cluster {name!r}: start it with `python -m devcluster --name {name} up`")
    return cluster


if __name__ == "__main__":
    sys.exit(main())
