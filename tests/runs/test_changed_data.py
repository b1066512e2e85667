"""A run and its data: what the same command, test.py and a new run say when images or labels have changed."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from PIL import Image

from retdm.commands.train import train
from retdm.data.images import read_image
from retdm.data.source import ImageSource, fingerprint_of
from retdm.errors import UserError
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings

ROWS = 40


class Birds(ImageSource):
    """A user's own source, as docs/howto/adding-data.md tells to write it: images, and labels in a file beside them."""

    names = ["wren", "robin"]

    def __init__(self, root: str) -> None:
        self.folder = Path(root)
        self.ids = [f"{i}.bmp" for i in range(ROWS)]
        self.targets = np.array(json.loads((self.folder / "labels.json").read_text()), np.uint8)
        self.known = np.ones(self.targets.shape, bool)
        self.fingerprint = fingerprint_of("birds", self.folder, self.ids)

    def read(self, i: int) -> Image.Image:
        return read_image(self.folder / self.ids[i])


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "birds", np.random.default_rng(0)
    folder.mkdir()
    targets = np.stack([np.arange(ROWS) % 2, np.arange(ROWS) // 2 % 2], 1)
    for i, (wren, robin) in enumerate(targets):
        pixels = rng.integers(0, 60, (20, 20, 3))
        pixels[:, :, 0] += 150 * wren
        pixels[:10, :, 1] += 150 * robin
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.bmp")
    (folder / "labels.json").write_text(json.dumps(targets.tolist()))
    return folder


@pytest.fixture
def settings(birds: Path, tmp_path: Path) -> RunSettings:
    words = ["data=synthetic", "method=lr", "backbone=vgg_small", "backbone.channels=[8,16]", "trainer.accelerator=cpu"]
    composed = compose_settings([*words, f"outputs={tmp_path / 'out'}"])
    data = {"_target_": f"{__name__}.Birds", "root": str(birds), "image_size": 16, "cache": str(tmp_path / "cache")}
    return composed.changed(data=data)


def scramble(folder: Path) -> None:
    """Give each image the pixels of noise: the same size, and no label to be seen."""
    rng = np.random.default_rng(1)
    for file in folder.glob("*.bmp"):
        content = file.read_bytes()
        file.write_bytes(content[:54] + rng.bytes(len(content) - 54))


def test_changed_images_are_told_of_and_give_another_result(
    settings: RunSettings, birds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(settings)
    before = json.loads((folder / "metrics.json").read_text())
    assert train(settings) == folder
    assert "finished already" in capsys.readouterr().out
    scramble(birds)
    with pytest.raises(UserError, match=r"the images are not those that .* was made with") as error:
        train(settings)
    assert "overwrite=true" in error.value.hint
    done = in_process("test.py", f"run={folder}", "user_classes=true")
    assert done.code == 2 and "error: the images are not those that" in done.err
    train(settings.changed(overwrite=True))
    after = json.loads((folder / "metrics.json").read_text())
    assert after["test"]["mAP"] < before["test"]["mAP"] == 1


def test_changed_labels_are_told_of_and_data_that_is_gone_is_not_compared(
    settings: RunSettings, birds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(settings)
    labels = birds / "labels.json"
    text = labels.read_text()
    labels.write_text(json.dumps([[1, 0], *json.loads(text)[1:]]))
    with pytest.raises(UserError, match=r"the labels are not those that .* was made with"):
        train(settings)
    done = in_process("test.py", f"run={folder}", "user_classes=true")
    assert done.code == 2 and "error: the labels are not those that" in done.err
    labels.write_text(text)
    capsys.readouterr()
    assert train(settings) == folder
    assert "cannot be compared" not in capsys.readouterr().out
    birds.rename(birds.with_name("elsewhere"))
    assert train(settings) == folder
    assert "its data cannot be compared: " in capsys.readouterr().out
