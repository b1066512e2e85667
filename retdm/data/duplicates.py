"""Duplicates: pairs of images that show the same picture, and must not come into two splits."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from retdm.errors import UserError

Pairs = dict[str, list[tuple[int, int]] | None]

# Chosen by eye on Scene: the 27 pairs from 0.978 up show one photograph twice or two shots from one spot; one more of
# the latter has 0.964, and from 0.960 down come pictures that are merely alike (sunsets over two seas). So the middle
# of the gap.
NEAR = 0.97
THUMBNAIL = 16
NEAR_LIMIT = 200_000  # images; the search compares all with all: 100,000 take 50 s of one core and 0.7 GB
NEAR_PAIRS_PER_IMAGE = 10
FEW = 2048  # images that are compared whole; by that many, principal axes are found
AXES = 64
ROWS, COLUMNS, CHUNK = 1024, 8192, 2**14  # of thumbnails compared at a time, and of pairs compared exactly
ROUNDING = 1e-4  # of a product of sketches
Duplicates = Literal["none", "identical", "near"]  # pairs that stay in one split


class ImageSignature(NamedTuple):
    """A digest of an image's bytes, and its thumbnail (768,) less each colour's mean: it is compared by both."""

    digest: bytes
    thumbnail: NDArray[np.float32] | None


def signature(image: NDArray[np.uint8], thumbnail: bool = True) -> ImageSignature:
    """The signature of an image (S, S, 3), S at least 16."""
    small = None
    if thumbnail:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()  # a copy: torch warns of read-only memory
        places = torch.nn.functional.adaptive_avg_pool2d(pixels, THUMBNAIL).flatten(1)
        small = (places - places.mean(1, keepdim=True)).flatten().numpy()
    return ImageSignature(sha256(image.tobytes()).digest(), small)


def find_pairs(signatures: Sequence[ImageSignature | None], near: float = NEAR) -> Pairs:
    """Pairs (a, b), a < b, of images that are the same picture.

    Args:
        signatures: one an image, None where it could not be read, which makes no pair.
        near: correlation above which two thumbnails of 16 x 16 are called near, over all places and colours, where one
            of them may be mirrored.

    Returns:
        "identical": each image whose bytes an earlier one has, paired with the first that has them.
        "near": the other pairs above ``near``; None where they were not searched (more than 200,000 images) or where
        there are more than 10 an image, for then the thumbnails do not tell these images apart. An image of one
        colour is near to none.
    """
    first_of: dict[bytes, int] = {}
    first = [-row if each is None else first_of.setdefault(each.digest, row) for row, each in enumerate(signatures)]
    identical = [(earlier, row) for row, earlier in enumerate(first) if signatures[row] is not None and earlier != row]
    near_pairs = _near_pairs(signatures, np.array(first), near) if len(signatures) <= NEAR_LIMIT else None
    return {"identical": identical, "near": near_pairs}


def _near_pairs(
    signatures: Sequence[ImageSignature | None], first: NDArray[np.int64], near: float
) -> list[tuple[int, int]] | None:
    n = len(signatures)
    unit = torch.zeros(n, 3 * THUMBNAIL * THUMBNAIL)
    for row, each in enumerate(signatures):
        if each is not None and each.thumbnail is not None:
            unit[row] = torch.from_numpy(each.thumbnail)
    unit /= unit.norm(dim=1, keepdim=True).clamp_min(1e-3)  # one colour: 0, a correlation with nothing
    sketches = _sketches(unit)
    pairs: set[tuple[int, int]] = set()
    for top in range(0, n, ROWS):
        for left in range(top, n, COLUMNS):
            for sketch, view in ((sketches[0], _as_it_is), (sketches[1], _mirrored)):
                hits = sketch[top : top + ROWS] @ sketches[0][left : left + COLUMNS].T > near - ROUNDING
                a, b = (place + start for place, start in zip(hits.nonzero(as_tuple=True), (top, left), strict=True))
                a, b = a[a < b], b[a < b]
                for some, others in zip(a.split(CHUNK), b.split(CHUNK), strict=True):
                    alike = (view(unit[some]) * unit[others]).sum(1) > near
                    found = zip(some[alike].tolist(), others[alike].tolist(), strict=True)
                    pairs.update((x, y) for x, y in found if first[x] != first[y])
                    if len(pairs) > NEAR_PAIRS_PER_IMAGE * n:
                        return None
    return sorted(pairs)


def _sketches(unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of thumbnails (n, 768) and of their mirror images whose products are never less than the thumbnails' own.

    Of many thumbnails these are the coordinates on some principal axes and the length of the rest, (n, AXES + 1): by
    Cauchy and Schwarz the rests add at most the product of their lengths. Of few they are the thumbnails themselves.
    """
    if len(unit) <= FEW:
        return unit, _mirrored(unit)
    sample = unit[:: len(unit) // FEW].double()
    axes = torch.linalg.eigh(sample.T @ sample)[1][:, -AXES:].float()

    def sketch(rows: torch.Tensor) -> torch.Tensor:
        inside = rows @ axes
        rest = (rows.square().sum(1) - inside.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([inside, rest[:, None]], 1)

    blocks = unit.split(COLUMNS)
    return torch.cat([sketch(block) for block in blocks]), torch.cat([sketch(_mirrored(block)) for block in blocks])


def _as_it_is(thumbnails: torch.Tensor) -> torch.Tensor:
    return thumbnails


def _mirrored(thumbnails: torch.Tensor) -> torch.Tensor:
    """Thumbnails (n, 768), left and right exchanged."""
    return thumbnails.reshape(len(thumbnails), 3 * THUMBNAIL, THUMBNAIL).flip(2).flatten(1)


def groups_of(
    pairs: Pairs, duplicates: Duplicates, n: int, given: NDArray[np.int64] | None = None
) -> NDArray[np.int64] | None:
    """(n,) ids of the groups that stay in one split; None where every image is alone.

    Args:
        pairs: of images that show the same picture.
        duplicates: those that are joined: none, identical images, or identical and near ones.
        n: images.
        given: (n,) ids of groups that stay together too. Where two of them share a picture they are one.
    """
    if duplicates == "none":
        return given
    joined = list(pairs["identical"] or [])
    if duplicates == "near":
        if pairs["near"] is None:
            raise UserError(
                f"near pairs of these {n:,} images are not known: they are more than {NEAR_LIMIT:,}, or too much alike",
                "set data.group_duplicates=identical",
            )
        joined += pairs["near"]
    a, b = np.array(joined, np.int64).reshape(-1, 2).T
    if given is not None:
        _, first, inverse = np.unique(given, return_index=True, return_inverse=True)
        a, b = np.append(a, np.arange(n)), np.append(b, first[inverse])
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
