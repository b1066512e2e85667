"""Downloads that break off and go on, and archives that stay inside their folder."""

import hashlib
import io
import os
import shutil
import socket
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from retdm.data import download
from retdm.data.download import fetch, unpack
from retdm.errors import UserError

CONTENT = bytes(range(256)) * 40
Make = Callable[[Path, dict[str, Any]], Path]


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT: /ranges continues downloads, /plain does not, /short closes early, anything else is 404."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path not in ("/ranges", "/plain", "/short"):
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.path == "/ranges" else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:100] if self.path == "/short" else CONTENT[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Handler, "asked", [])
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()
    thread.join()


# ---- fetch


@pytest.mark.parametrize("way", ["ranges", "plain"])
def test_a_download_arrives_whole_under_its_name_alone(server: str, tmp_path: Path, way: str) -> None:
    target = fetch(f"{server}/{way}", tmp_path / "new" / "a.bin", hashlib.sha256(CONTENT).hexdigest())
    assert target.read_bytes() == CONTENT
    assert [file.name for file in target.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize(
    ("way", "part", "asked"),
    [
        ("ranges", CONTENT[:3000], ["bytes=3000-"]),  # goes on where it stopped
        ("plain", b"x" * 3000, ["bytes=3000-"]),  # the server cannot continue and sends everything anew
        ("ranges", CONTENT, [f"bytes={len(CONTENT)}-"]),  # was whole and only gets its name
        ("ranges", CONTENT + b"more", [f"bytes={len(CONTENT) + 4}-", None]),  # of another file: thrown away
    ],
)
def test_a_broken_download_is_continued_or_begun_anew(
    server: str, tmp_path: Path, way: str, part: bytes, asked: list[str | None]
) -> None:
    (tmp_path / "a.bin.part").write_bytes(part)
    assert fetch(f"{server}/{way}", tmp_path / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in Handler.asked] == asked


def test_a_connection_that_closes_early_leaves_a_part_to_continue(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="broke off after 100 of 10,240 bytes"):
        fetch(f"{server}/short", tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    assert fetch(f"{server}/ranges", tmp_path / "a.bin").read_bytes() == CONTENT
    assert Handler.asked[-1] == ("/ranges", "bytes=100-")


def test_a_wrong_checksum_leaves_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="checksum"):
        fetch(f"{server}/plain", tmp_path / "a.bin", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_the_file_says_so_unless_it_is_there(server: str, tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_text("put here by hand")
    assert fetch(f"{server}/gone", tmp_path / "b.bin").read_text() == "put here by hand" and Handler.asked == []
    with pytest.raises(UserError, match="/gone answers 404") as caught:
        fetch(f"{server}/gone", tmp_path / "a.bin")
    assert str(tmp_path / "a.bin") in caught.value.hint


def test_offline_says_the_address_and_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
        with pytest.raises(UserError, match="cannot be reached: .*refused") as caught:
            fetch(url, tmp_path / "a.bin")
    assert url in caught.value.hint and str(tmp_path / "a.bin") in caught.value.hint


def test_a_full_disk_is_noticed_before_the_first_byte(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 5000))
    with pytest.raises(UserError, match=r"needs 0\.0 MB and .* has 0\.0 MB free"):
        fetch(f"{server}/ranges", tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:6000])  # what is left to come fits
    assert fetch(f"{server}/ranges", tmp_path / "a.bin").read_bytes() == CONTENT


# ---- unpack


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b"" if isinstance(data, tarfile.TarInfo) else data
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def link(name: str, kind: bytes, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


GOOD = {"readme.txt": b"hello", "deep/er/1.jpg": b"\xff\xd8"}


@pytest.mark.parametrize(("name", "make"), [("a.zip", make_zip), ("a.tar", make_tar), ("a.tar.gz", make_tar)])
def test_zip_and_tar_unpack(tmp_path: Path, name: str, make: Make) -> None:
    archive = make(tmp_path / name, GOOD)
    assert tree(unpack(archive, tmp_path / "out")) == GOOD
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([name, "out"])


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "C:evil", "a/../../evil", "/tmp/evil-of-retdm", "..\\evil", "\\evil"])
def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str, make: Make) -> None:
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / "a", {"ok": b"", name: b"bad"})
    with pytest.raises(UserError, match="leads out of the folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert [f.name for f in tmp_path.rglob("*")] == ["in", "a"]
    assert not Path("/tmp/evil-of-retdm").exists()


@pytest.mark.parametrize(
    "member",
    [
        link("out", tarfile.SYMTYPE, "/etc"),
        link("here", tarfile.SYMTYPE, "readme.txt"),
        link("hard", tarfile.LNKTYPE, "readme.txt"),
        link("pipe", tarfile.FIFOTYPE, ""),
    ],
    ids=["symlink out", "symlink inside", "hard link", "fifo"],
)
def test_a_tar_with_a_link_or_device_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = make_tar(tmp_path / "a.tar", {"readme.txt": b"hello", "link": member})
    with pytest.raises(UserError, match="link or a device"):
        unpack(archive, tmp_path / "out")
    assert [f.name for f in tmp_path.iterdir()] == ["a.tar"]


def test_a_zip_with_a_symlink_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("out")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with pytest.raises(UserError, match="link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_what_a_system_unpacker_wrote_is_looked_through_for_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "secret").write_text("secret")

    def careless(archive: Path, folder: Path) -> None:
        (folder / "deep").mkdir()
        make = os.symlink if kind == "symlink" else os.link
        make(tmp_path / "secret", folder / "deep" / "1.jpg")

    monkeypatch.setattr(download, "_unpack_by_system", careless)
    with pytest.raises(UserError, match=r"deep/1\.jpg.*link"):
        unpack(tmp_path / "a.rar", tmp_path / "out")
    assert [f.name for f in tmp_path.iterdir()] == ["secret"] and (tmp_path / "secret").read_text() == "secret"


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="bsdtar is not installed")
def test_bsdtar_unpacks_refuses_links_and_says_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: which(name) if name == "bsdtar" else None)
    # It knows an archive by its bytes, so a tar stands in for a rar.
    assert tree(unpack(make_tar(tmp_path / "a.rar", GOOD), tmp_path / "out")) == GOOD
    make_tar(tmp_path / "b.rar", {"link": link("etc", tarfile.SYMTYPE, "/etc")})
    (tmp_path / "c.rar").write_bytes(b"Rar!\x1a\x07\x00" + b"x" * 50)
    for name, says in (("b.rar", "link or a device"), ("c.rar", r"cannot be unpacked \(bsdtar: ")):
        with pytest.raises(UserError, match=says):
            unpack(tmp_path / name, tmp_path / "bad")
        assert not (tmp_path / "bad").exists()


def test_when_one_unpacker_fails_the_next_is_tried_on_a_clean_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = {
        "bsdtar": lambda archive, folder: ["sh", "-c", f"echo half > '{folder}/half'; echo no such kind >&2; exit 1"],
        "7z": lambda archive, folder: ["sh", "-c", f"echo whole > '{folder}/whole'"],
    }
    monkeypatch.setattr(download, "UNPACKERS", shell)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    (tmp_path / "a.rar").touch()
    assert tree(unpack(tmp_path / "a.rar", tmp_path / "out")) == {"whole": b"whole\n"}


def test_without_an_unpacker_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "a.rar").touch()
    with pytest.raises(UserError, match=r"bsdtar, unar, 7z, 7zz, unrar") as caught:
        unpack(tmp_path / "a.rar", tmp_path / "out")
    assert "apt-get install libarchive-tools" in caught.value.hint


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>moved</html>")
    with pytest.raises(UserError, match=r"a\.zip is neither a zip, a tar nor a rar"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("packing", "old", "new", "says"),
    [
        (zipfile.ZIP_STORED, b"A" * 100, b"B" * 100, "CRC"),
        (zipfile.ZIP_DEFLATED, zlib.compress(b"A" * 100)[2:3], b"\xff", "invalid block type"),
    ],
)
def test_a_zip_with_changed_bytes_is_named_and_leaves_nothing(
    tmp_path: Path, packing: int, old: bytes, new: bytes, says: str
) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", packing) as opened:
        opened.writestr("1.jpg", b"A" * 100)
        start = opened.getinfo("1.jpg").header_offset + 30 + len("1.jpg")
    content = archive.read_bytes()
    archive.write_bytes(content[:start] + content[start:].replace(old, new, 1))
    with pytest.raises(UserError, match=rf"a\.zip cannot be unpacked: .*{says}"):
        unpack(archive, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_a_folder_with_something_in_it_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(UserError, match="cannot write in"):
        unpack(make_zip(tmp_path / "a.zip", GOOD), tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine": b"mine"}
