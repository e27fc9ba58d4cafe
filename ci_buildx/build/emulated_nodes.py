"""Another node's emulation in place of a node that the cluster cannot schedule."""

from __future__ import annotations

from ci_buildx.build.build_run import BuildRun
from ci_buildx.builder import plan
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import BootError
from ci_buildx.progress.display import DisplayPhase


def emulate_node(
    site: BuildRun, builder: Builder, phase: DisplayPhase, planned: Plan, node: NodePlan, failure: BootError
) -> Plan:
    """Return the plan without a node that could not be scheduled, and remove that node's Job.

    Raises ``failure`` if no other node can build its platforms.
    """
    changed = plan.replan(planned, node.architecture or "")
    if changed is None:
        if not site.settings.build.platforms:
            fix = f"{failure.fix}; or set --platform to the architecture of the cluster's nodes"
            raise BootError(failure.subject, failure.reason, failure.detail, fix=fix) from failure
        raise failure
    find.remove_failed_node(site.kube, builder, node)
    for kept in changed.nodes:
        phase.add_output(kept.reason)
        if kept not in planned.nodes and site.settings.keep:
            find.update_node_annotations(site.kube, builder, kept)
    return changed
