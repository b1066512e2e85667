"""Print the size of the cached images, features and distances; `cache clear` removes them.

  retdm cache [clear] [<folder>]

The folder is outputs/cache unless another is given. A cache that a running process uses is left alone.
"""

from contextlib import ExitStack
from pathlib import Path

from retdm.errors import UserError
from retdm.files import PART, locked


def main(words: list[str]) -> None:
    """Run the command on its arguments.

    Raises:
        UserError: there are too many arguments, no such folder, or a file cannot be removed.
    """
    clear = words[:1] == ["clear"]
    rest = words[clear:]
    if len(rest) > 1 or any(each.startswith("-") for each in rest):
        raise UserError(f"cache takes one folder, not {' '.join(rest)}", "retdm cache [clear] [<folder>]")
    folder = Path(rest[0] if rest else "outputs/cache")
    if rest and not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "retdm cache [clear] [<folder>]")
    # Nothing but files that are named like caches: a wrong folder loses nothing.
    endings = (".pixels", ".jpeg", ".npz", ".features", ".distances", ".place", ".lock", PART)
    caches: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*")):
        if file.suffix in endings and _is_key(key := file.name.split(".")[0]):
            caches.setdefault(key, []).append(file)
    size = sum(file.stat().st_size for files in caches.values() for file in files)
    found = f"{folder}: {len(caches)} caches, {size / 1e6:,.0f} MB"
    if not clear:
        print(found)
        return
    try:
        in_use = sum(not _removed(files) for files in caches.values())
    except OSError as error:
        raise UserError(f"{found}; {error.filename or folder} cannot be removed: {error.strerror}") from error
    print(f"{found}, removed{f' but for {in_use} that running processes use' if in_use else ''}")


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
