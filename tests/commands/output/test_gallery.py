"""The gallery that ``retdm predict gallery=true`` writes."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Done, check_message, in_process, predictions_in
from PIL import Image

from retdm.commands import predict
from retdm.methods.components.encoder import BackboneEncoder
from retdm.methods.networks.retdm import RETDM
from retdm.runs.folder.saved import write_decision


def command(*arguments: str) -> Done:
    return in_process("predict", *arguments)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_the_gallery_has_a_small_picture_of_every_image_in_its_proportions(trained: Path, tmp_path: Path) -> None:
    Image.new("RGB", (640, 320), "red").save(tmp_path / "wide.png")
    done = command(f"run={trained}", f"images={tmp_path / 'wide.png'}", "gallery=true")
    page = (trained / "predictions" / "gallery.html").read_text()
    assert done.code == 0, done.err
    (content,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="wide.png"', page)
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.size == (192, 96)
    red, green, blue = picture.getpixel((90, 50))  # type: ignore[misc]
    assert red > 240 and green < 15 and blue < 15


def test_the_gallery_has_a_heat_map_of_each_decided_label_or_of_the_highest_on_all_of_the_picture(
    trained: Path, tmp_path: Path, rows: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[torch.Tensor] = []  # by the backbone
    extract = BackboneEncoder.extract_with_regions

    def extracted(encoder: BackboneEncoder, images: torch.Tensor) -> Any:
        read.append(images)
        return extract(encoder, images)

    def brightness(method: Any, batch: Any) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(read[-1].mean(1, keepdim=True), 4)
        return (10 * cells).sigmoid().flatten(2).transpose(1, 2).expand(-1, -1, len(rows["labels"]))

    monkeypatch.setattr(BackboneEncoder, "extract_with_regions", extracted)
    monkeypatch.setattr(RETDM, "instance_scores", brightness)
    (tmp_path / "photos").mkdir()
    wide = Image.new("RGB", (640, 320))
    wide.paste("white", (480, 0, 640, 80))  # a quarter of each side, at the top right
    wide.save(tmp_path / "photos" / "wide.png")
    for rule, count in (("validation", 1), ("top3", 3)):  # a threshold that no score reaches leaves the highest
        write_decision(trained / "checkpoints" / "best.ckpt", {"threshold": 1.0, "decision": None})
        done = command(f"run={trained}", f"images={tmp_path / 'photos'}", "gallery=true", f"decide={rule}")
        assert done.code == 0, done.err
        page = (trained / "predictions" / "gallery.html").read_text()
        scores = predictions_in(trained / "predictions")["images"][0]["scores"]
        told = re.findall(r'data-heat="([^"]+)">([^<]+)</button>', page)
        assert [label for _, label in told] == sorted(scores, key=lambda label: -scores[label])[:count]
        for content, _ in told:
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int).sum(2)
            assert picture.shape == (4, 4)
            assert picture[0, 3] > 500 and np.delete(picture, 3).max() < 100
    assert len(read) == 2, "the backbone runs once a batch"
    assert 'style="--margins: 12.500% 0.000%"' in page  # 640 x 320 in a frame of 4:3


def test_the_gallery_has_heat_maps_without_being_asked_for_them(predicted: tuple[Done, Path]) -> None:
    page = (predicted[1] / "gallery.html").read_text()
    assert re.search(r"<button[^>]*data-heat", page) and "underlined label" in page


def test_of_a_method_that_tells_of_no_regions_the_gallery_offers_nothing(
    trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RETDM, "scores_instances", False)
    assert command(f"run={trained}", f"images={photos}", "gallery=true").code == 0
    page = (trained / "predictions" / "gallery.html").read_text()
    assert not re.search(r"<button[^>]*data-heat|--margins: \d|underlined label", page)


def test_a_gallery_of_too_many_images_is_refused_before_the_work(
    trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "MOST", 11)
    message = check_message(command(f"run={trained}", f"images={photos}", "gallery=true"))
    assert "12 images are too many for one page (at most 11)" in message
    assert command(f"run={trained}", f"images={photos}").code == 0
