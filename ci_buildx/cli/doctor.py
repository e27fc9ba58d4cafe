"""``kube-builder doctor``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.progress.step import drop_controls, strip_control_characters
from ci_buildx.settings import options
from ci_buildx.settings.assembly import make_builder_settings, make_cluster_settings
from ci_buildx.settings.driver_opts.checks import check_hosts

if TYPE_CHECKING:
    from ci_buildx.builder.rbac.checks import CheckResult
    from ci_buildx.builder.rbac.rights import RightsMode
    from ci_buildx.manage.doctor import CommandAbility, DoctorReport, DoctorRequest

SUMMARY = (
    "Checks that a cluster meets the requirements of builds: versions, each permission, "
    "PodSecurity, architectures, runtime handlers, user namespaces, storage classes, the reaper, who can use the "
    "service accounts, registries, and whether NetworkPolicies are enforced. It creates a test builder and a few pods, "
    "and removes them. It lists the commands that this account cannot use, with the rights that are missing; --fix "
    "prints the YAML that grants this account the rights of one mode."
)
EXAMPLES = f"""\
examples:
  kube-builder doctor registry.example
  kube-builder doctor --namespace ci-builds --format json
  read-only: create nothing
    kube-builder doctor --no-probe
  print the YAML that grants this account its missing rights
    kube-builder doctor --fix > rights.yaml
  grant the rights of jobs, as a cluster administrator
    kubectl create namespace kube-builder
    kube-builder doctor --roles jobs | kubectl apply -f -

Exit code 1 also means that a requirement is not met.

{EXIT_CODES}"""
_OPTIONS = ("kubeconfig", "kube-context", "namespace", "driver-opts", "buildkitd-config")
_FORMATS = ("table", "json")
_YAML = "yaml"
"""Shape of the output of ``--fix``."""
_MISSING = 1


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the checks and print the results. Returns 1 if a requirement is missing."""
    given = make_parser().read(argv)
    own = {name: given.pop(name, "") for name in ("format", "mode", "no-probe", "fix", "roles", "registries")}
    named = str(given.get("namespace", ""))
    values, sources = merge_variables(given, around.env)
    builder = make_builder_settings(values, sources, around.env, around.cwd)
    if own["roles"]:
        around.stdout.write(render_roles(str(own["roles"]), builder.namespace, named))
        return 0
    shape = _require_choice("--format", str(own["format"] or "table"), _FORMATS)
    registries = check_hosts(own["registries"] if isinstance(own["registries"], list) else [], source="REGISTRY")
    cluster = make_cluster_settings(values, sources, around.env, around.cwd)
    from ci_buildx.manage import doctor

    mode = choose_mode(str(own["mode"]), builder.namespace)
    probe = not (own["no-probe"] or own["fix"])
    wishes = doctor.DoctorRequest(mode=mode, builder=builder, registries=registries, probe=probe)
    shape = _YAML if own["fix"] else shape
    if shape == "table":
        around.stdout.write(_format_line("CHECK", "STATUS", "DETAIL"))
    found = doctor.run_doctor(cluster, wishes, env=around.env, tell=lambda each: _print_result(each, shape, around))
    if shape == _YAML:
        around.stdout.write(drop_controls(found.fix))
        if not found.fix:
            around.warn(f"this account has all rights of mode {mode}; there is nothing to apply")
    else:
        around.stdout.write(encode_json(found) if shape == "json" else format_summary(found, wishes))
    return 0 if found.healthy else _MISSING


def choose_mode(text: str, namespace: str) -> RightsMode:
    """Return whose rights to check: by name, or by default from the namespace."""
    from ci_buildx.builder.rbac.rights import RightsMode

    if not text:
        return RightsMode.NAMESPACE if namespace else RightsMode.JOBS
    mode = RightsMode(_require_choice("--mode", text, tuple(RightsMode)))
    if mode is RightsMode.NAMESPACE and not namespace:
        raise InputError("missing namespace", source="--mode", fix="add --namespace NAME")
    return mode


def render_roles(mode: str, namespace: str, named: str) -> str:
    """Render the YAML of one mode, or of an addition to it, for the cluster's administrator.

    An opt-out applies to ``namespace``, or to the jobs' accounts if that is empty. The reaper is placed in ``named``,
    the namespace of the command line: that of builds, from a variable, is not for the reaper. Raises InputError for
    unknown names.
    """
    from ci_buildx.builder.rbac import roles as rbac_roles
    from ci_buildx.builder.rbac.rights import RightsMode

    others: dict[str, Callable[[], str]] = {
        "unconfined": lambda: rbac_roles.render_unconfined(namespace),
        "host-access": lambda: rbac_roles.render_host_access(namespace),
        "confined-pods": rbac_roles.render_confined_pods,
        "reaper": lambda: rbac_roles.render_reaper_roles(named or rbac_roles.SYSTEM),
        "reaper-cronjob": lambda: rbac_roles.render_reaper_cronjob(named or rbac_roles.SYSTEM),
    }
    chosen = _require_choice("--roles", mode, tuple({**dict.fromkeys(RightsMode), **others}))
    if chosen in others:
        return others[chosen]()
    return rbac_roles.render_roles(RightsMode(chosen), namespace=namespace or rbac_roles.EXAMPLE_NAMESPACE)


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("doctor", "[OPTIONS] [REGISTRY…]", SUMMARY, examples=EXAMPLES)
    help_of_registries = "registry that builds use, HOST or HOST:PORT; checked from here and from a pod"
    parser.add_argument_group("Arguments").add_argument(
        "registries", nargs="*", metavar="REGISTRY", help=help_of_registries
    )
    parser.add_options([options.BY_NAME[name] for name in _OPTIONS])
    other = parser.add_argument_group("Other")
    other.add_argument("--no-probe", dest="no-probe", action="store_true", help="create no builder and no pods")
    other.add_argument(
        "--fix",
        action="store_true",
        help="print only the YAML that grants this account the missing rights of --mode; implies --no-probe",
    )
    other.add_argument(
        "--format", default=argparse.SUPPRESS, metavar="|".join(_FORMATS), help="output format (default: table)"
    )
    help_of_mode = (
        "permissions to check, named like the files of docs/rbac: jobs, namespace, reaper, listing or looking "
        "(default: jobs, or namespace with --namespace)"
    )
    other.add_argument("--mode", default=argparse.SUPPRESS, metavar="MODE", help=help_of_mode)
    help_of_roles = (
        "only print a file of docs/rbac for kubectl apply: namespace, jobs, reaper, reaper-cronjob, listing, looking, "
        "confined-pods, or the opt-outs unconfined and host-access; --namespace is that of the builds or the reaper"
    )
    other.add_argument("--roles", default=argparse.SUPPRESS, metavar="MODE", help=help_of_roles)
    parser.offer_help(other)
    return parser


def encode_json(found: DoctorReport) -> str:
    """Encode the complete report as JSON."""
    findings = [
        {"check": each.topic, "subject": each.subject, "status": str(each.status), "detail": each.detail}
        for each in found.findings
    ]
    commands = [
        {"commands": one.commands, "namespace": one.namespace, "possible": not one.lack, "lack": list(one.lack)}
        for one in found.commands
    ]
    answer = {"healthy": found.healthy, "findings": findings, "commands": commands}
    return json.dumps({**answer, "fix": found.fix, "apply": found.apply}, indent=2) + "\n"


def _print_result(finding: CheckResult, shape: str, around: ProcessContext) -> None:
    """Print a result as soon as it is known: some checks take seconds."""
    if shape == "table":
        detail = f"{finding.subject}: {finding.detail}" if finding.subject else finding.detail
        around.stdout.write(_format_line(finding.topic, str(finding.status), detail))
        around.stdout.flush()


def _format_line(check: str, status: str, detail: str) -> str:
    return f"{check:<16} {status:<8} {strip_control_characters(detail)}\n"


_PURPOSES = {
    "jobs": "builds with a namespace of their own",
    "namespace": "builds in the namespace {namespace}",
    "reaper": "kube-builder reap",
    "listing": "kube-builder ls in all namespaces",
    "looking": "planning by the cluster's nodes",
}
"""What each mode is for."""


def format_summary(found: DoctorReport, wishes: DoctorRequest) -> str:
    """Format the totals, the commands that the account cannot use, and how to get the YAML for what is missing."""
    from ci_buildx.builder.rbac.checks import CheckStatus

    counted = Counter(finding.status for finding in found.findings)
    namespace = wishes.builder.namespace
    purpose = _PURPOSES[wishes.mode].format(namespace=namespace)
    missing = counted[CheckStatus.MISSING]
    verdict = f"All requirements of {purpose} are met" if found.healthy else f"Missing: {missing}"
    lines = ["", f"{verdict}. Warnings: {counted[CheckStatus.WARNING]}."]
    if found.fix:
        shown = f"--mode {wishes.mode}" + (f" --namespace {namespace}" if namespace else "")
        lines += ["", "This command prints the YAML that grants the missing rights, for an administrator to apply:"]
        lines += [f"  kube-builder doctor {shown} --fix"]
    if any(one.lack for one in found.commands):
        lines += ["", "This account cannot use:"]
        lines += [line for one in found.commands if one.lack for line in _format_lack(one)]
    return drop_controls("".join(f"{line}\n" for line in lines))


def _format_lack(ability: CommandAbility) -> list[str]:
    """Return the lines about commands that the account cannot use: the missing rights, and how to get them."""
    place = f" in namespace {ability.namespace}" if ability.namespace else ""
    option = f" --namespace {ability.namespace}" if ability.namespace else ""
    return [
        f"  {ability.commands}{place}",
        f"    missing: {'; '.join(ability.lack)}",
        f"    kube-builder doctor --mode {ability.mode}{option} --fix",
    ]


def _require_choice(source: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise InputError(f"unknown value {text!r}", source=source, fix=f"known: {', '.join(choices)}")
    return text
