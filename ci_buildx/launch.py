"""Entry point that starts the command without importing modules from the current folder.

``python -m`` puts the working directory first on ``sys.path``, and PYTHONPATH may point into the checkout: a file
``json.py`` there would be imported instead of Python's own. An isolated interpreter (``python -I``) ignores both. Until
the path is clean, this module uses only modules that every interpreter loads at startup.
"""

import _signal  # type: ignore[import-not-found]
import os
import sys

import ci_buildx

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn


def run() -> "NoReturn":
    """Run the command that the arguments name and exit with its exit code."""
    # Until the command installs its own signal handlers, Ctrl-C kills the process as usual: nothing needs cleanup yet.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if not sys.flags.isolated:
        clean_path(sys.path, os.environ)
    from ci_buildx.cli.main import run

    run()


def clean_path(path: list[str], env: "Mapping[str, str]") -> None:
    """Remove from ``path`` the working directory and those PYTHONPATH folders that are relative or in a workspace.

    The interpreter's own folders stay. The folder that holds this package stays too; it is appended if it was removed.
    """
    given = [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    here, home = os.path.abspath(""), os.path.dirname(os.path.abspath(ci_buildx.__path__[0]))
    doubtful = {here, *map(os.path.abspath, given)}
    own = tuple(os.path.join(prefix, "lib") + os.sep for prefix in (sys.prefix, sys.base_prefix))
    found = [folder for folder in path if os.path.abspath(folder) in doubtful and not folder.startswith(own)]
    if not found:
        return
    kept = [folder for folder in path if folder not in found]
    # From here on no foreign module can be imported, so the check of the remaining folders can be.
    path[:] = [*kept, home]
    from ci_buildx.model.programs import is_outside

    harmless = [folder for folder in found if folder in given and folder != here and is_outside(folder, env)]
    path[:] = [*harmless, *kept, *([] if home in (*harmless, *kept) else [home])]
