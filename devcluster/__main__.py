"""`python -m devcluster`: a Kubernetes cluster with two nodes and three registries on this machine."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

from devcluster import layout, programs, versions
from devcluster.errors import DevclusterError


def main() -> int:
    """Run one verb; return its exit code."""
    arguments = parser().parse_args()
    try:
        code: int = arguments.verb(arguments)
    except (DevclusterError, ValueError, OSError) as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"devcluster: {error.cmd[0]} failed with {error.returncode}, see above", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndevcluster: interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    # Accepted before and after the verb; the verb's default must not override a value before it.
    naming = argparse.ArgumentParser(add_help=False)
    for place, default in ((top, layout.default_name()), (naming, argparse.SUPPRESS)):
        place.add_argument(
            "--name",
            default=default,
            help="name of the cluster (default: DEVCLUSTER, or dev); several run side by side",
        )
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def add(name: str, verb: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text, parents=[naming])
        made.set_defaults(verb=verb)
        return made

    starting = add("up", up, "start it, or what is missing of it")
    starting.add_argument(
        "--kubernetes",
        metavar="VERSION",
        help=f"of a new cluster: {', '.join(programs.KUBERNETES)} (default: {programs.DEFAULT})",
    )
    starting.add_argument(
        "--small", action="store_true", help="build and start only what a build needs: no DNS for pods, no buildctl"
    )
    add("down", down, "remove every trace of it")
    add("status", status, "look at every part; exit 1 unless all is well")
    add("env", env, "print export lines for a shell to evaluate")
    add("packages", packages, "install what the host lacks of Debian's packages")
    building = add("programs", build, "build all programs and print where they are")
    building.add_argument("--kubernetes", metavar="VERSION", help="see `up`")
    building.add_argument("--small", action="store_true", help="only those of `up --small`, with the host's packages")
    with_log = add("logs", logs, "show a process's log")
    with_log.add_argument("process", metavar="NAME", nargs="?", help="without it, the names are listed")
    with_log.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    with_command = add("exec", execute, "run a command in the cluster's network namespace")
    with_command.add_argument("command", metavar="CMD", nargs="+", help="put -- before it")
    return top


def up(arguments: argparse.Namespace) -> int:
    """Start the cluster."""
    from devcluster import host
    from devcluster.preparation import prepare
    from devcluster.up import up as bring_up

    cluster = layout.cluster(arguments.name)
    if not host.is_root():
        # Runs as the user whose cache it fills.
        prepare(versions.choose(cluster, arguments.kubernetes), small=arguments.small)
    host.become_root()
    bring_up(cluster, arguments.kubernetes, small=arguments.small)
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
    """Print one line for each part."""
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


def packages(_: argparse.Namespace) -> int:
    """Install the host's packages."""
    from devcluster import host

    host.become_root()
    host.install_packages()
    return 0


def build(arguments: argparse.Namespace) -> int:
    """Build every program, or those of a small cluster; some need Debian packages on the host."""
    from devcluster import host
    from devcluster.preparation import prepare

    version = versions.choose(layout.cluster(arguments.name), arguments.kubernetes)
    if arguments.small:
        prepare(version, small=True)
        return 0
    host.install_packages()
    programs.build_all(version)
    for name, path in sorted(programs.installed().items()):
        if path.exists():
            print(f"{name} {path}")
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """Show a log, or list the names of all logs."""
    cluster = existing(arguments.name)
    names = sorted(path.stem for path in cluster.run.glob("*.log"))
    if arguments.process is None:
        print("\n".join(names))
        return 0
    if arguments.process not in names:
        raise DevclusterError(f"no log {arguments.process!r}; there are: {', '.join(names)}")
    follow = ["--follow=name"] if arguments.follow else []
    return subprocess.call(["tail", "--lines=200", *follow, cluster.run / f"{arguments.process}.log"])


def execute(arguments: argparse.Namespace) -> int:
    """Replace this process with the command."""
    from devcluster import environment, host, namespaces

    cluster = existing(arguments.name)
    host.become_root()
    os.environ.update(environment.variables(cluster))
    argv = [*namespaces.enter(cluster, mount=False), "--", *arguments.command]
    os.execv(argv[0], argv)


def existing(name: str) -> layout.Cluster:
    """Return the cluster of that name, which must have been started. Raises DevclusterError."""
    cluster = layout.cluster(name)
    if not cluster.kubeconfig.exists():
        raise DevclusterError(f"there is no cluster {name!r}: start it with `python -m devcluster --name {name} up`")
    return cluster


if __name__ == "__main__":
    sys.exit(main())
