#!/bin/sh
# Everything that a fresh Debian or Ubuntu machine needs, once: make, the Python environment, the pinned tools.
# `make` targets call the same steps, so running this first is a convenience, not a duty.
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
	as_root apt-get update -q
	# shellcheck disable=SC2086  # a list of words on purpose
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing
fi
exec make setup PYTHON="$PYTHON"
