"""``python -m retdm cache``: what the caches of a folder take, and their removal."""

import sys
from contextlib import ExitStack
from pathlib import Path

from retdm.files import PART, locked


def main(arguments: list[str]) -> int:
    """``python -m retdm cache [clear] [folder]``: their size; ``clear`` removes them."""
    clear = arguments[:1] == ["clear"]
    rest = arguments[clear:]
    if len(rest) > 1 or any(each.startswith("-") for each in rest):
        print("python -m retdm cache [clear] [folder, outputs/cache if none is named]")
        return 0 if rest in (["-h"], ["--help"]) else 2
    folder = Path(rest[0] if rest else "outputs/cache")
    # Nothing but files that are named like caches: a wrong folder loses nothing.
    endings = (".pixels", ".jpeg", ".npz", ".features", ".distances", ".place", ".lock", PART)
    caches: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*")):
        if file.suffix in endings and _is_key(key := file.name.split(".")[0]):
            caches.setdefault(key, []).append(file)
    size = sum(file.stat().st_size for files in caches.values() for file in files)
    told = f"{folder}: {len(caches)} caches, {size / 1e6:,.0f} MB"
    if not clear:
        print(told)
        return 0
    try:
        in_use = sum(not _removed(files) for files in caches.values())
    except OSError as error:
        print(f"{told}; {error.filename or folder} cannot be removed: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{told}, removed{f' but for {in_use} that running processes use' if in_use else ''}")
    return 0


def _removed(files: list[Path]) -> bool:
    """Remove a cache's files unless a process builds it or reads from it."""
    try:
        with ExitStack() as stack:
            for file in files:
                if file.suffix in (".lock", ".npz"):
                    stack.enter_context(locked(file, wait=False))
            for file in files:
                file.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    return True


def _is_key(name: str) -> bool:
    return len(name) == 16 and set(name) <= set("0123456789abcdef")
