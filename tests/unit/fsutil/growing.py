"""Trees from a few lines of text."""

from pathlib import Path

from ci_buildx.fsutil.entry import TreeEntry


def grow(root: Path, *lines: str) -> Path:
    """Make what ``lines`` say: ``a/`` is a folder, ``a`` a file, ``a -> b`` a symlink, ``a = b`` a hardlink."""
    for line in lines:
        name, arrow, target = line.partition(" -> ")
        if not arrow:
            name, _, target = line.partition(" = ")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            path.symlink_to(target)
        elif target:
            path.hardlink_to(root / target)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(f"content of {name}")
    return root


def described(entry: TreeEntry) -> str:
    """An entry in the same notation."""
    name = entry.path.decode()
    if entry.is_folder:
        return name + "/"
    if entry.linkname:
        return name + (" -> " if entry.is_symlink else " = ") + entry.linkname.decode()
    return name
