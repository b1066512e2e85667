"""Label files in COCO's format."""

import json
from pathlib import Path
from typing import Any

NAMES = {7: "train", 1: "person", 90: "toothbrush"}  # neither in order nor without gaps, as COCO's are


def coco_content(files: list[str], labels: list[list[int]], first: int = 0) -> dict[str, Any]:
    """A COCO json of images with these categories, one instance each, with what COCO writes beside."""
    images = [{"license": 4, "file_name": f, "height": 8, "width": 8, "id": first + 3 * i} for i, f in enumerate(files)]
    pairs = [(image["id"], label) for image, found in zip(images, labels, strict=True) for label in found]
    return {
        "info": {"year": 2014},
        "images": images,
        "annotations": [
            {"segmentation": [[1.5, 2.0, 3, 4]], "iscrowd": 0, "image_id": image, "category_id": label, "id": i}
            for i, (image, label) in enumerate(pairs)
        ],
        "categories": [{"supercategory": "thing", "id": i, "name": name} for i, name in NAMES.items()],
    }


def write_json(file: Path, what: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what if isinstance(what, str) else json.dumps(what))
