"""Planted near-duplicates of a set's images: how many of them thumbnails find, and how many a network's features.

    python benchmarks/near_duplicates.py [set=scene] [images=60] [words='backbone=mobilenet_v2 data.root=…']

Thumbnails are compared as ``data.group_duplicates=near`` does, with and without mirror images. Features are compared by
cosine, at the similarity above which lie as many pairs of the set's own images as thumbnails find (5 at least).
"""

import io
import shlex
from collections.abc import Callable

import numpy as np
import torch
from benchmark_options import options_of
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from retdm.commands.output.tables import print_table
from retdm.data.duplicates import NEAR, find_pairs, signature
from retdm.data.modules import ImageData
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_data, build_method, features_of
from retdm.settings.compose import compose_settings

DEFAULTS = {"set": "scene", "images": 60, "words": "backbone=mobilenet_v2"}
Floats = NDArray[np.float32]


def cropped(share: float, corner: bool = False) -> Callable[[Image.Image], Image.Image]:
    def crop(image: Image.Image) -> Image.Image:
        width, height = (round(side * share) for side in image.size)
        left, top = (0, 0) if corner else ((image.width - width) // 2, (image.height - height) // 2)
        return image.resize(image.size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))

    return crop


def compressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 30": compressed,
    "a third of the size": lambda image: image.resize((image.width // 3, image.height // 3)).resize(image.size),
    "brightness x 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "contrast x 0.7": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "middle 95 %": cropped(0.95),
    "middle 90 %": cropped(0.9),
    "corner 90 %": cropped(0.9, corner=True),
    "middle 80 %": cropped(0.8),
}


def unit(rows: NDArray[np.floating]) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3), np.float32)


def thumbnails(images: list[Image.Image]) -> Floats:
    found = [signature(np.asarray(image)).thumbnail for image in images]
    return unit(np.stack([each for each in found if each is not None]))


def mirrored(rows: Floats) -> Floats:
    return rows.reshape(len(rows), 3, 16, 16)[..., ::-1].reshape(len(rows), -1)


@torch.inference_mode()
def features(method: DeepMethod, data: ImageData, images: list[Image.Image]) -> Floats:
    pixels = [data.preparation.resized(np.asarray(image), data.image_size) for image in images]
    normalised = method.normalised(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    return unit(method.encoder.extract(normalised).float().numpy())


def main() -> None:
    options = options_of(DEFAULTS)
    words = [f"data={options['set']}", "method=bce", "precompute=true", *shlex.split(options["words"])]
    settings = compose_settings(words)
    data = build_data(settings)
    method = build_method(settings, data.labels).eval()
    assert isinstance(data, ImageData) and isinstance(method, DeepMethod)
    rows = np.sort(data.readable)
    featured = features_of(settings, data, method)
    assert isinstance(featured, ImageData) and featured.features is not None
    own = unit(np.asarray(featured.features[rows]))
    pictures = [Image.fromarray(data.images[int(row)]) for row in rows]
    pairs = find_pairs([signature(np.asarray(image)) for image in pictures])["near"] or []
    every = np.sort((own @ own.T)[np.triu_indices(len(own), 1)])
    limit = every[-max(5, len(pairs))]
    print(f"{options['set']}: {len(rows):,} images, {len(pairs)} near pairs; features are alike above {limit:.3f}")
    chosen = np.random.default_rng(0).choice(len(rows), min(options["images"], len(rows)), replace=False)
    before = thumbnails([pictures[i] for i in chosen])
    table = []
    for name, change in CHANGES.items():
        images = [change(pictures[i]) for i in chosen]
        after, seen = thumbnails(images), features(method, data, images)
        as_it_is, flipped = ((view * before).sum(1) > NEAR for view in (after, mirrored(after)))
        alike = (seen * own[chosen]).sum(1) >= limit
        table.append([name, *(f"{found.mean():.2f}" for found in (as_it_is, as_it_is | flipped, alike))])
    print_table(["change", "thumbnails", "and mirrored", "features"], table)
    print(f"share found of {len(chosen)} images")


if __name__ == "__main__":
    main()
