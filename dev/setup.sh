#!/bin/sh
# Everything that a fresh Debian or Ubuntu machine needs, once: make, the Python environment, the pinned tools.
# `make` targets call the same steps, so running this first is a convenience, not a duty. `dev/setup.sh demo` runs
# `make demo` in place of `make setup`, which builds only what the demo needs.
set -eu
cd "$(dirname "$0")/.."

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=""
command -v make >/dev/null || missing="$missing make"
command -v git >/dev/null || missing="$missing git"
PYTHON=${PYTHON:-}
if [ -z "$PYTHON" ]; then
	for candidate in python3.13 python3.12 python3.11 python3; do
		if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			PYTHON=$candidate
			break
		fi
	done
fi
[ -n "$PYTHON" ] || { echo "setup: needs Python 3.11 or newer: apt-get install python3, or name one with PYTHON=…" >&2; exit 2; }
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
	# A mirror may fail for a moment, also with a part of its lists only: both steps are repeated.
	for pause in ${SETUP_PAUSES:-5 20} last; do
		as_root apt-get update -q -o Acquire::Retries=3 || echo "setup: some package lists are missing" >&2
		# shellcheck disable=SC2086  # a list of words on purpose
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing && break
		[ "$pause" != last ] || { echo "setup: cannot install$missing: see above, then run this again" >&2; exit 1; }
		echo "setup: trying again in $pause s" >&2
		sleep "$pause"
	done
fi
exec make "${1:-setup}" PYTHON="$PYTHON"
