"""Broken files, counted: read all the same, refused in one line, or ending in a traceback, which is a bug.

    python benchmarks/fuzz.py [files=300] [seed=0] [only=<kind>] [keep=<folder>]

A sound file of each kind that the program reads (tables of labels, COCO's JSON, images, bags, archives, the files of a
run folder) is changed at random: bytes flipped, cut off, removed, repeated, moved, replaced by troublesome ones.
``files`` of each kind. Printed: a line a kind with its counts and seconds; a traceback's file goes to ``keep``, and the
exit code is then 1.
"""

import io
import json
import logging
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from benchmark_options import options_of
from PIL import Image
from rich.console import Console
from rich.table import Table

import retdm
from retdm.commands.train import train
from retdm.data.download import unpack
from retdm.data.images import read_image
from retdm.data.user.bag_files import BagFiles
from retdm.data.user.coco_json import CocoJson
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError
from retdm.report.groups import group_runs
from retdm.report.read import find_runs
from retdm.runs.folder.paths import RunFolder, read_config
from retdm.settings.compose import compose_settings

OPTIONS: dict[str, Any] = {"files": 300, "seed": 0, "only": "", "keep": "/tmp/retdm-fuzz"}
NASTY = [
    *(b"\0", b"\xff\xfe", b'"', b"'", b",", b";", b"\n", b"\r", b"\t", b"{", b"[", b"]}", b"-1", b"1e999", b"NaN"),
    *(b"../../x", b"\xed\xa0\x80", b"\x1b[31m", b"9" * 400, b"&a [*a,*a]", b"null", b"true", b"0x", "İ\u202e".encode()),
]  # fmt: skip
KINDS = ("one line", "read", "tracebacks")
Target = tuple[bytes, str, Callable[[Path], object]]


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes of a file; never the file itself."""
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        a, b = sorted(int(place) for place in rng.integers(0, len(found) + 1, 2))
        b = min(b, a + int(rng.choice([1, 8, 64, 100_000])))
        match int(rng.integers(7)):
            case 0:
                for place in rng.integers(0, max(len(found), 1), int(rng.integers(1, 9))) if found else ():
                    found[int(place)] ^= int(rng.integers(1, 256))
            case 1:
                del found[a:]
            case 2:
                del found[a:b]
            case 3:
                found[a:a] = found[a:b]
            case 4:
                found[a:a] = NASTY[int(rng.integers(len(NASTY)))]
            case 5:
                found[a:b] = NASTY[int(rng.integers(len(NASTY)))]
            case _:
                found[a:b] = bytes(b - a)
    return bytes(found) if found != content else content[:-1]


def images(folder: Path, n: int = 6) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).save(folder / f"{i}.png")


def encoded(kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, kind)
    return stream.getvalue()


def bags_npz() -> bytes:
    rng, stream = np.random.default_rng(0), io.BytesIO()
    np.savez(
        stream, instances=rng.normal(size=(9, 3)), bag=np.repeat([0, 1, 2], 3), targets=np.eye(3, 2), names=["a", "b"]
    )
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in ("a/1.txt", "a/2.txt", "b.txt"):
            opened.writestr(name, name * 50)
    return stream.getvalue()


def targets(work: Path) -> dict[str, Target]:
    """By kind: a sound file, its name and its reader."""
    images(work)
    table = "image,cat,dog,split\n" + "".join(
        f"{i}.png,{i % 2},{i // 3},{'test' if i > 3 else 'train'}\n" for i in range(6)
    )
    joined = "image,labels\n" + "".join(f"{i}.png,{'cat;dog' if i % 2 else '-'}\n" for i in range(6))
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 16, "height": 12} for i in range(6)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1 if i % 2 else 7} for i in range(6)],
    }
    bags = "bag,x,y,cat\n" + "".join(f"b{i // 2},{i}.5,{-i},{i // 4}\n" for i in range(8))
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"bags": np.array([[np.ones((2, 3))], [np.ones((3, 3))]], object), "targets": np.eye(2)})

    def csv_of(path: Path) -> None:
        source = CsvLabels(str(work), str(path))
        assert source.targets.shape == source.known.shape == (len(source.ids), len(source.names))

    def run_of(path: Path) -> None:
        run = RunFolder(path.parent)
        read_config(run)
        group_runs(find_runs([path.parent]))

    def predicted(path: Path) -> None:
        retdm.load(path.parents[1]).predict([np.zeros((16, 16, 3), np.uint8)])

    made: dict[str, Target] = {
        "csv": (table.encode(), "labels.csv", csv_of),
        "csv joined": (joined.encode(), "joined.csv", csv_of),
        "coco json": (json.dumps(coco).encode(), "coco.json", lambda path: CocoJson(str(work), str(path))),
        "bags csv": (bags.encode(), "bags.csv", lambda path: BagFiles(str(path), "cat")),
        "bags npz": (bags_npz(), "bags.npz", lambda path: BagFiles(str(path))),
        "bags mat": (mat.getvalue(), "bags.mat", lambda path: BagFiles(str(path))),
        "zip": (archive(), "archive.zip", lambda path: unpack(path, path.parent / "unpacked")),
    }
    for kind, mode in (
        ("PNG", "RGBA"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("TIFF", "RGB"),
        ("BMP", "RGB"),
        ("WEBP", "RGB"),
    ):
        made[f"image {kind}"] = (encoded(kind, mode), f"image.{kind.lower()}", read_image)
    words = "data=synthetic data.size=60 data.image_size=16 backbone.channels=[8,16] method=lr trainer.accelerator=cpu"
    folder = train(compose_settings([*words.split(), f"outputs={work / 'outputs'}"]))
    for name in ("config.yaml", "split.json", "metrics.json", "predictions.npz"):
        made[f"run {name}"] = ((folder / name).read_bytes(), str((folder / name).relative_to(work)), run_of)
    best = folder / "checkpoints" / "best.ckpt"
    made["run best.ckpt"] = (best.read_bytes(), str(best.relative_to(work)), predicted)
    return made


def main() -> None:
    OPTIONS.update(options_of(OPTIONS))
    logging.disable(logging.WARNING)  # a training sets levels of its own
    warnings.simplefilter("ignore")
    keep, all_counts = Path(OPTIONS["keep"]), Counter[str]()
    table = Table("file", "changed", *KINDS, "seconds", box=None, pad_edge=False)
    with tempfile.TemporaryDirectory() as folder:
        for kind, (content, name, read) in targets(Path(folder)).items():
            if OPTIONS["only"] not in kind:
                continue
            rng, counts, start = np.random.default_rng(OPTIONS["seed"]), Counter[str](), time.monotonic()
            path = Path(folder, name)
            path.write_bytes(content)
            read(path)  # the sound file must be readable
            for number in range(OPTIONS["files"]):
                path.write_bytes(changed(content, rng))
                shutil.rmtree(path.parent / "unpacked", ignore_errors=True)
                try:
                    read(path)
                    counts["read"] += 1
                except UserError:
                    counts["one line"] += 1
                except Exception:
                    counts["tracebacks"] += 1
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{kind.replace(' ', '-')}-{number}-{path.name}")
                    if counts["tracebacks"] < 3:
                        traceback.print_exc()
            path.write_bytes(content)
            cells = (str(counts[key]) for key in KINDS)
            table.add_row(kind, str(counts.total()), *cells, f"{time.monotonic() - start:.0f}")
            all_counts += counts
    table.add_row(
        "all", str(all_counts.total()), *(str(all_counts[key]) for key in ("one line", "read", "tracebacks")), ""
    )
    Console(width=110, highlight=False).print(table)
    if all_counts["tracebacks"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
