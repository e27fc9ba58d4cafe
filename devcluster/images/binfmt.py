"""A replacement for tonistiigi/binfmt, which registers QEMU with the kernel of its cluster node.

Options, output and flags are upstream's (tonistiigi/binfmt, cmd/binfmt/main.go); the emulators are Debian's.
"""

from __future__ import annotations

from pathlib import Path

from devcluster.images import base
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File, Folder

# Upstream's names of the architectures, mapped to QEMU's.
EMULATORS = {"arm64": "aarch64", "arm": "arm", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x"}
RULES = Path("/usr/lib/binfmt.d")
# C: QEMU runs with the program's rights; F: QEMU is opened at registration, so that it works in every container; P:
# QEMU receives argv[0] (Linux, admin-guide/binfmt-misc.rst).
_FLAGS = "CFP"

SCRIPT = r"""#!/bin/sh
# binfmt [--install all|ARCH,…] [--uninstall qemu-NAME|ARCH,…]: exits with 0 whatever could not be done, like upstream.
kernel=/proc/sys/fs/binfmt_misc
rules=/usr/share/binfmt

emulator() {
    if [ -f "$rules/$1" ]; then cut -d: -f2 "$rules/$1"; else echo "$1"; fi
}

install_one() {
    if [ ! -f "$rules/$1" ]; then
        echo "installing: $1 unsupported architecture: $1" >&2
    elif [ -e "$kernel/$(emulator "$1")" ]; then
        echo "installing: $1 $(emulator "$1") already registered" >&2
    elif cat "$rules/$1" > "$kernel/register"; then
        echo "installing: $1 OK" >&2
    else
        echo "installing: $1 cannot register to $kernel/register" >&2
    fi
}

uninstall_one() {
    entry=$kernel/$(emulator "$1")
    if [ ! -e "$entry" ]; then
        echo "uninstalling: $1 not found" >&2
    elif echo -1 > "$entry"; then
        echo "uninstalling: $1 OK" >&2
    else
        echo "uninstalling: $1 cannot be removed" >&2
    fi
}

# Prints its arguments as a JSON list.
list() {
    printf '['
    comma=
    for word in "$@"; do
        printf '%s"%s"' "$comma" "$word"
        comma=', '
    done
    printf ']'
}

status() {
    platforms=linux/amd64
    emulators=
    for entry in "$kernel"/*; do
        grep -q '^enabled' "$entry" || continue
        name=${entry##*/}
        [ "$name" = status ] || emulators="$emulators $name"
    done
    for architecture in $(ls "$rules"); do
        [ ! -e "$kernel/$(emulator "$architecture")" ] || platforms="$platforms linux/$architecture"
    done
    printf '{\n  "supported": %s,\n  "emulators": %s\n}\n' "$(list $platforms)" "$(list $emulators)"
}

install=
uninstall=
while [ $# -gt 0 ]; do
    case $1 in
        --install|-install) option=install ;;
        --uninstall|-uninstall) option=uninstall ;;
        *) echo "flag provided but not defined: $1" >&2; exit 2 ;;
    esac
    [ $# -gt 1 ] || { echo "flag needs an argument: $1" >&2; exit 2; }
    eval "$option=\$2"
    shift 2
done
if [ ! -e "$kernel/status" ]; then
    mount -t binfmt_misc binfmt_misc "$kernel" || { echo "error: cannot mount binfmt_misc at $kernel" >&2; exit 0; }
    trap 'umount "$kernel"' EXIT
fi
[ "$install" != all ] || install=$(ls "$rules" | tr '\n' ' ')
for name in $(echo "$uninstall" | tr , ' '); do uninstall_one "$name"; done
for name in $(echo "$install" | tr , ' '); do install_one "${name#linux/}"; done
status
exit 0
"""


def image(busybox: Path) -> Image:
    """Return the image; its rules are those of Debian's package, with QEMU's path in the image."""
    script = File(path="/usr/bin/binfmt", source=SCRIPT.encode(), mode=0o755)
    entries: list[Entry] = [script, Folder(path="/tmp", mode=0o1777)]
    for architecture, name in EMULATORS.items():
        target = f"/usr/bin/qemu-{name}"
        entries.append(File(path=target, source=Path(f"{target}-static"), mode=0o755))
        line = rule((RULES / f"qemu-{name}.conf").read_text(), target)
        entries.append(File(path=f"/usr/share/binfmt/{architecture}", source=line.encode()))
    layers = (Content(entries=(*base.shell(busybox), *entries)),)
    settings = {"Entrypoint": ["/usr/bin/binfmt"], "Env": [base.PATH], "Volumes": {"/tmp": {}}}
    return Image(
        repository="tonistiigi/binfmt",
        tags=("latest",),
        variants=(Variant(architecture="amd64", layers=layers, settings=settings),),
    )


def rule(text: str, interpreter: str) -> str:
    """Return Debian's line for the kernel (`:name:M::magic:mask:interpreter:flags`) with our interpreter and flags.

    Raises ValueError if the line does not have that format.
    """
    fields = text.strip().split(":")
    if len(fields) != 8 or fields[2] != "M":
        raise ValueError(
            f"rule for binfmt_misc: want :name:M:offset:magic:mask:interpreter:flags, not {text.strip()!r}"
        )
    return ":".join((*fields[:6], interpreter, _FLAGS))
