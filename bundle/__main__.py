"""``python -m bundle``: writes all generated regions; with ``--check`` only lists stale files, and fails if any is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bundle import action, commands, component, conformance, driver, gitlab, layers, pages, regions, versions
from bundle.runner import name_runner
from ci_buildx.builder.rbac import roles
from ci_buildx.builder.rbac.rights import RightsMode

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE, COMPONENT = "gitlab-template/kube-builder.yml", "templates/kube-builder.yml"
MERGE_TEMPLATE, MERGE_COMPONENT = "gitlab-template/merge.yml", "templates/merge.yml"
BAKE_TEMPLATE, BAKE_COMPONENT = "gitlab-template/bake.yml", "templates/bake.yml"
ACTIONS = (".", "setup", "merge", "bake", "bake/subaction/matrix", "bake/subaction/list-targets")
FILES = (*(f"{place}/action.yml" for place in ACTIONS), TEMPLATE, MERGE_TEMPLATE, BAKE_TEMPLATE)
REGIONS: Mapping[str, Callable[[], str]] = {
    "action-inputs": action.action_inputs,
    "setup-inputs": action.setup_inputs,
    "merge-inputs": action.merge_inputs,
    "bake-inputs": action.bake_inputs,
    "matrix-inputs": action.matrix_inputs,
    "list-targets-inputs": action.list_targets_inputs,
    "action-table": pages.action_table,
    "setup-table": pages.setup_table,
    "action-outputs": pages.action_outputs_table,
    "setup-outputs": pages.setup_outputs_table,
    "merge-table": pages.merge_table,
    "bake-table": pages.bake_table,
    "options-table": pages.options_table,
    "attributes-table": pages.attributes_table,
    "buildx-variables": pages.variables_table,
    "ci-systems": pages.systems_table,
    "gitlab-inputs": gitlab.gitlab_inputs,
    "gitlab-variables": gitlab.gitlab_variables,
    "gitlab-merge-inputs": gitlab.gitlab_merge_inputs,
    "gitlab-merge-variables": gitlab.gitlab_merge_variables,
    "gitlab-bake-inputs": gitlab.gitlab_bake_inputs,
    "gitlab-bake-variables": gitlab.gitlab_bake_variables,
    "driver-opts": driver.options_table,
    "layers": layers.layers_picture,
    "conformance": conformance.table,
    "versions": versions.table,
}
WHOLE: Mapping[str, Callable[[], str]] = {
    **{f"docs/rbac/{mode}.yaml": partial(roles.render_roles, mode) for mode in RightsMode},
    "docs/rbac/confined-pods.yaml": roles.render_confined_pods,
    "docs/rbac/unconfined.yaml": roles.render_unconfined,
    "docs/rbac/host-access.yaml": roles.render_host_access,
    "docs/reference/commands.md": commands.page,
    "docs/reference/driver-opts.schema.json": driver.schema_text,
    "docs/rbac/reaper-cronjob.yaml": roles.render_reaper_cronjob,
}


def stale() -> dict[Path, str]:
    """Return the stale files and their new text."""
    texts = {path: path.read_text(encoding="utf-8") for path in (*(ROOT / name for name in FILES), *find_pages())}
    filled = {path: name_runner(regions.fill(text, REGIONS)) for path, text in texts.items()}
    whole = {name: make() for name, make in WHOLE.items()}
    whole[COMPONENT] = component.component(filled[ROOT / TEMPLATE])
    whole[MERGE_COMPONENT] = component.merge_component(filled[ROOT / MERGE_TEMPLATE])
    whole[BAKE_COMPONENT] = component.bake_component(filled[ROOT / BAKE_TEMPLATE])
    for name, text in whole.items():
        path = ROOT / name
        texts[path], filled[path] = path.read_text(encoding="utf-8") if path.exists() else "", text
    return {path: text for path, text in filled.items() if text != texts[path]}


def find_pages() -> list[Path]:
    """Return the pages that are written by hand, with or without generated regions."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if str(path.relative_to(ROOT)) not in WHOLE]


def main(arguments: list[str]) -> int:
    """Write the files, or check them, and return the exit code."""
    check = arguments == ["--check"]
    found = stale()
    for path, text in found.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'is not what `make bundle` writes' if check else 'written'}")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
