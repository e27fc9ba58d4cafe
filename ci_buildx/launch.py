"""Starts the command without the modules of the folder that it is called in.

``python -m`` puts the working directory first on ``sys.path``, and PYTHONPATH may lead into the checkout: a file
``json.py`` there would be imported in the place of Python's own. An isolated interpreter (``python -I``) has neither.
Until the path is clean, only modules that every interpreter has loaded at its start are used here.
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
    """End the process with the exit code of the command that its arguments name."""
    # Until the command owns its signals, Ctrl-C ends it as the others do: nothing is there yet to be cleaned up.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if not sys.flags.isolated:
        clean_path(sys.path, os.environ)
    from ci_buildx.cli.main import run

    run()


def clean_path(path: list[str], env: "Mapping[str, str]") -> None:
    """Remove the working directory from ``path``, and folders of PYTHONPATH that are relative or in a workspace.

    The interpreter's own folders stay, and as the last one the folder that holds this package.
    """
    given = [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    here, home = os.path.abspath(""), os.path.dirname(os.path.abspath(ci_buildx.__path__[0]))
    doubtful = {here, *map(os.path.abspath, given)}
    own = tuple(os.path.join(prefix, "lib") + os.sep for prefix in (sys.prefix, sys.base_prefix))
    found = [folder for folder in path if os.path.abspath(folder) in doubtful and not folder.startswith(own)]
    if not found:
        return
    kept = [folder for folder in path if folder not in found]
    # Now nothing of a stranger can be imported, and what decides about the rest may be.
    path[:] = [*kept, home]
    from ci_buildx.model.programs import is_outside

    harmless = [folder for folder in found if folder in given and folder != here and is_outside(folder, env)]
    path[:] = [*harmless, *kept, *([] if home in (*harmless, *kept) else [home])]
