"""Downloads of published archives: continued where they broke, and unpacked inside their folder only."""

import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PureWindowsPath

from retdm.display.screen import bar
from retdm.errors import UserError
from retdm.files import locked, part_of

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20

# Tried in this order: bsdtar and unar read every kind of rar, 7z and unrar only as some systems build them.
UNPACKERS = {
    "bsdtar": lambda archive, folder: ["bsdtar", "-xf", archive, "-C", folder],
    "unar": lambda archive, folder: ["unar", "-quiet", "-no-directory", "-output-directory", folder, archive],
    "7z": lambda archive, folder: ["7z", "x", "-y", f"-o{folder}", archive],
    "7zz": lambda archive, folder: ["7zz", "x", "-y", f"-o{folder}", archive],
    "unrar": lambda archive, folder: ["unrar", "x", "-y", archive, f"{folder}/"],
}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn failures of the disk (no right to write, full, no folder) into a ``UserError`` that names ``folder``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write in {folder}: {reason}", "set data.root to a folder that can be written"
        ) from error


def fetch(url: str, target: Path, sha256: str | None = None) -> Path:
    """Download ``url`` to ``target`` and return it; a ``target`` that is there already is taken as it is.

    Bytes go to ``<target>.part``, which a later call continues where the server allows it, and which gets its name when
    it is whole (and, with ``sha256``, right). Raises ``UserError`` when the address does not answer, the disk is full
    or closed to us, or the checksum differs.
    """
    if target.exists():
        return target
    by_hand = f"run again to continue, or download {url} yourself to {target}"
    part = part_of(target)
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
    try:
        response, have, total = _open(url, have)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url} answers {error.code} {error.reason}", by_hand) from error
    except (OSError, HTTPException) as error:
        raise UserError(f"{url} cannot be reached: {getattr(error, 'reason', error)}", by_hand) from error
    if response is not None:
        with response:
            _check_room(target.parent, (total or have) - have, url)
            have = _stream(response, part, have, total, url, by_hand)
    if total is not None and have != total:
        raise UserError(f"{url} broke off after {have:,} of {total:,} bytes", by_hand)
    if sha256 is not None and (found := _sha256(part)) != sha256:
        part.unlink()
        raise UserError(f"{url} has checksum {found}, expected {sha256}", "it changed or broke on its way: run again")
    with writing(target.parent):
        part.replace(target)
    return target


def _open(url: str, have: int) -> tuple[HTTPResponse | None, int, int | None]:
    """Ask for the bytes from ``have`` on: (answer or None if nothing is missing, bytes that stand, bytes in all)."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing follows our last byte: the part is whole, or of another file, and the download starts anew.
        error.close()
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return None, have, have
        return _open(url, 0)
    if have and (response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
        if response.status == 206:
            response.close()
            return _open(url, 0)
        have = 0  # the server does not continue downloads and sends the whole file
    length = response.headers.get("Content-Length")
    return response, have, None if length is None else have + int(length)


def _stream(response: HTTPResponse, part: Path, have: int, total: int | None, url: str, by_hand: str) -> int:
    """Append (or, at ``have`` = 0, write) the answer to ``part``; the bytes it then has."""
    name = url.rsplit("/", 1)[-1]
    with (
        bar(name, total, initial=have, unit="B", unit_scale=True) as progress,
        writing(part.parent),
        part.open("ab" if have else "wb") as file,
    ):
        while True:
            try:
                chunk = response.read(CHUNK)
            except (OSError, HTTPException) as error:
                raise UserError(f"{url} broke off after {have:,} bytes: {error}", by_hand) from error
            if not chunk:
                return have
            file.write(chunk)
            have += len(chunk)
            progress.update(len(chunk))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_room(folder: Path, needed: int, what: str | Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} needs {needed / 1e6:,.1f} MB and {folder} has {free / 1e6:,.1f} MB free",
            "make room, or set data.root to a folder on a larger disk",
        )


def obtain(folder: Path, addresses: Iterable[str], places: Mapping[str, str], check: Callable[[Path], object]) -> None:
    """Download and unpack the archives of a published set into ``folder``, unless something is in it already.

    All or nothing, and by one process: others wait and find it. The archives stay beside the folder.

    Args:
        folder: the set's own.
        addresses: of the archives, which may hold rars.
        places: {place in ``folder``: path of a file in it}; the unpacked folder that holds the file goes to that place,
            in this order.
        check: raises ``UserError`` where a folder is not the set.
    """

    def is_there() -> bool:
        return folder.is_dir() and any(folder.iterdir())

    root = folder.parent
    if is_there():
        return
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with writing(root), locked(root / f"{folder.name}.lock"):
        if is_there():
            return
        archives = [fetch(address, root / address.rsplit("/", 1)[1]) for address in addresses]
        part = part_of(folder)
        with writing(root):
            shutil.rmtree(part, ignore_errors=True)
            (part / folder.name).mkdir(parents=True)
        try:
            for archive in archives:
                unpacked = unpack(archive, part / "unpacked" / archive.stem)
                for inner in sorted(unpacked.rglob("*.rar")):
                    unpack(inner, inner.with_suffix(""))
            for place, sample in places.items():
                found = next((part / "unpacked").rglob(sample), None)
                if found is None:
                    names = " and ".join(map(str, archives))
                    raise UserError(f"{names}: {sample} is not in there", "delete what is wrong and download it again")
                with writing(root):
                    found.parents[sample.count("/")].rename(part / folder.name / place)
            check(part / folder.name)
            with writing(root):
                (part / folder.name).rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip, tar or rar into ``folder``, which must not exist yet or be empty, and return it.

    All or nothing: the members go to ``<folder>.part`` first. Absolute names, ``..`` and links of any kind are refused.
    Rar is read by the system's unpacker. Raises ``UserError``.
    """
    part = part_of(folder)
    with writing(folder.parent):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    try:
        _unpack_into(archive, part)
        _check_contents(archive, part)
        with writing(folder.parent):
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _unpack_into(archive: Path, folder: Path) -> None:
    try:
        if archive.suffix.lower() == ".rar":  # by name first: a rar may hold bytes that look like a zip's end
            _unpack_by_system(archive, folder)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for entry in zipped.infolist():
                    _check_member(archive, entry.filename, stat.S_ISLNK(entry.external_attr >> 16))
                _check_room(folder, sum(entry.file_size for entry in zipped.infolist()), archive)
                with writing(folder):
                    zipped.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                for member in tarred:
                    _check_member(archive, member.name, not (member.isreg() or member.isdir()))
                _check_room(folder, sum(member.size for member in tarred.getmembers()), archive)
                with writing(folder):
                    tarred.extractall(folder, filter="data")
        else:
            raise UserError(f"{archive} is neither a zip, a tar nor a rar archive", "delete it and download it again")
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile, tarfile and their decompressors raise many kinds on broken bytes
        raise UserError(f"{archive} cannot be unpacked: {error}", "delete it and download it again") from error


def _check_member(archive: Path, name: str, link: bool) -> None:
    """Refuse a member by its name before a byte of it is written."""
    path = PureWindowsPath(name)  # knows both slashes and drive letters
    if path.drive or path.root or ".." in path.parts:
        raise _refused(archive, name, "its name leads out of the folder")
    if link:
        raise _refused(archive, name, "it is a link or a device")


def _check_contents(archive: Path, folder: Path) -> None:
    """Plain files and folders only, and files with one name only: what an unpacker wrote stays inside the folder."""
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            status = path.lstat()
            if not (stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)):
                raise _refused(archive, str(path.relative_to(folder)), "it is a link or a device")


def _refused(archive: Path, name: str, why: str) -> UserError:
    return UserError(f"{archive} is refused: member {name!r}, {why}", "this is no archive of images: delete it")


def _unpack_by_system(archive: Path, folder: Path) -> None:
    """Try the unpackers that are installed, in turn, since not each build of each reads rar."""
    found = [name for name in UNPACKERS if shutil.which(name)]
    if not found:
        raise UserError(
            f"Nothing on this machine unpacks {archive} (looked for {', '.join(UNPACKERS)})",
            "install one, for example `apt-get install libarchive-tools` or `brew install unar`, or unpack it by hand",
        )
    failures = []
    for name in found:
        command = UNPACKERS[name](str(archive.absolute()), str(folder.absolute()))
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode == 0:
            return
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()
        failures.append(f"{name}: {lines[-1]}")
        for leftover in folder.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    raise UserError(
        f"{archive} cannot be unpacked ({'; '.join(failures)})",
        "delete it and download it again; if that does not help, `apt-get install libarchive-tools`",
    )
