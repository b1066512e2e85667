"""Settings of ``retdm features``, checked before PyTorch is imported."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retdm.errors import UserError
from retdm.settings.checks import check_command, check_group
from retdm.settings.declared import is_ours
from retdm.settings.timm_names import check_timm

ENDINGS = (".npz", ".parquet")
NEITHER = "give one of them: run=<folder> or backbone=<name>; `retdm train --help` lists the backbones"


def check_features(asked: dict[str, Any], choices: Mapping[str, Any]) -> None:
    """Check which network is taken and what of it; the settings of a backbone of the user's own are not read yet.

    Args:
        asked: as composed.
        choices: group -> name of its YAML file.

    Raises:
        UserError: a key is unknown, a value cannot be, or two do not go together.
    """
    check_command("features", asked, choices)
    run, backbone = asked["run"], asked["backbone"]
    if run is None and not backbone:
        raise UserError("which network? run=… or backbone=… is missing", NEITHER)
    if run is not None and backbone:
        raise UserError("run=… and backbone=… are two networks", NEITHER)
    if backbone and is_ours(backbone.get("_target_")):
        check_group("backbone", backbone, backbone["_target_"], choices)
        with own_words():
            check_timm(backbone, asked, choices)
    if asked["stages"] is not None and asked["view"] != "multilevel":
        raise UserError(f"stages={asked['stages']} are of view=multilevel", "add view=multilevel, or leave stages out")
    for key in ("image_size", "precision"):
        if run is not None and asked[key] is not None:
            raise UserError(f"{key}={asked[key]}: a run keeps its own", f"leave {key} out")


@contextmanager
def own_words() -> Iterator[None]:
    """Errors call the image size as this command does, and not as training."""
    try:
        yield
    except UserError as error:
        message, hint = (text.replace("data.image_size", "image_size") for text in (error.message, error.hint))
        raise UserError(message, hint) from error


def check_files(asked: Mapping[str, Any]) -> None:
    """Check that images are named, and that the file to write can be.

    Raises:
        UserError: no image is named; the file ends in something else, needs a package that is not installed, or is
            there already.
    """
    if not asked["images"]:
        raise UserError("which images? images=<…> is missing", "images=<folder, file, glob, or list>")
    out = Path(asked["out"]).expanduser()
    if out.suffix not in ENDINGS:
        raise UserError(f"out={out} ends in neither of {', '.join(ENDINGS)}", f"out={out.stem or 'x'}.npz")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(
            f"{out} needs a package that is not installed: pyarrow",
            f'pip install "retdm[parquet]", or out={out.with_suffix(".npz")}',
        )
    if out.is_dir():
        raise UserError(f"out={out} is a folder", f"out={out / 'features.npz'}")
    if out.exists() and not asked["overwrite"]:
        raise UserError(f"{out} is there already", "replace it with overwrite=true, or choose out=<file>")
