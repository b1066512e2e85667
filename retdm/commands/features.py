"""Write features of image files, by any backbone or by the network of a trained run, for use elsewhere.

  retdm features backbone=<name> images=<folder, file, glob, or list of these> [out=<file>] [<key>=<value>] …
  retdm features run=<folder> images=<folder, file, glob, or list> [out=<file>] [<key>=<value>] …

The embedding of a run is what its head classifies, for RETDM the space in which images meet label sets; the other views
are of its trained backbone. The file has the features, the images' names, and what the features depend on: network,
weights and their hash, image size, transform, view, stages, version and date. `retdm train --help` lists the backbones.

examples
  retdm features backbone=mobilenet_v2 images=photos
  retdm features backbone=vgg16_full backbone.weights=vgg16.pt images=photos view=multilevel 'stages=[4,5]' out=vgg.npz
  retdm features run=outputs/scene/retdm/<name> images=photos out=scene.parquet
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.commands.output.feature_files import FeatureRows, write_features
from retdm.commands.output.files import print_unread, writable
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import atomic
from retdm.runs.folder.paths import shown
from retdm.runs.process import prepare_process
from retdm.runs.trained.extractor import extractor_of
from retdm.runs.trained.image_files import Unread, batches_of
from retdm.runs.trained.inputs import find_images
from retdm.settings.features import check_features, check_files


def main(config: DictConfig) -> None:
    """Write the file, and print how many images it has and how large it is."""
    guarded(lambda: _features(config))


def _features(config: DictConfig) -> None:
    asked: Any = OmegaConf.to_container(config, resolve=True)
    choices = HydraConfig.get().runtime.choices
    check_features(asked, choices)
    check_files(asked)
    files = find_images(asked["images"])
    out = Path(asked["out"]).expanduser()
    prepare_process()
    extractor = extractor_of(asked, choices)
    about = extractor.about
    if extractor.warning:
        print(f"warning: {extractor.warning}", file=sys.stderr, flush=True)
    view = about["view"] + (f" (stages {', '.join(about['stages'])})" if about["stages"] else "")
    whose = about["network"] + (f" of {asked['run']}" if asked["run"] else "")
    print(f"{len(files):,} files, on {extractor.method.device}; {view} of {printable(whose)}", flush=True)

    with _writing(out), tempfile.TemporaryFile(dir=writable(out.parent, "file")) as opened:  # gone with the process
        rows = FeatureRows(opened)
        unread: list[Unread] = []
        started = time.monotonic()
        for batch in batches_of(extractor, files, asked["batch_size"], "features", unread):
            rows.add([str(each.file) for each in batch], extractor.features(torch.stack([each.view for each in batch])))
        seconds = time.monotonic() - started
        print_unread(unread, len(files), out.name)
        print(f"{len(rows.names):,} images in {seconds:.1f} s: {len(rows.names) / seconds:.1f} images/s", flush=True)
        unreadable = [{"name": str(file), "reason": reason} for file, reason in unread]
        shape = rows.array().shape
        with atomic(out) as part:
            write_features(part, out.suffix, rows, about | {"shape": list(shape[1:]), "unreadable": unreadable})
    size = " x ".join(f"{number:,}" for number in shape)
    print(f"wrote {printable(shown(out))}: {size} float32, {out.stat().st_size / 1e6:.1f} MB", flush=True)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """An error of the disk says which file it was, and what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {out}: {error.strerror or error}", "make room, or choose another place: out=<file>"
        ) from error
