"""The images of the Scene bags, by colour and by the results of an SVM, in the published and in the mended order.

RETDM_DATA=<folder that holds scene/> python benchmarks/scene_bag_order.py        # about half a minute
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from retdm.criteria.ranking import ranks
from retdm.criteria.ranking_average_precision import average_precision
from retdm.data.sets.scene import Scene
from retdm.data.sets.scene_bags import FEATURES, PATCHES, SceneBags, bag_of_image

Floats = NDArray[np.float64]
SPLITS, BLOCK, CENTRES = 5, 400, (2, 4, 6)


def blobs(image: Image.Image) -> Floats:
    """(9 x 3,): mean colours of nine blobs of 2 x 2 pixels of the image at 8 x 8."""
    small = np.asarray(image.resize((8, 8), Image.Resampling.BOX), float)
    return np.array([small[y - 1 : y + 1, x - 1 : x + 1].mean((0, 1)) for y in CENTRES for x in CENTRES]).ravel()


def ranking_average_precision(bags: SceneBags, split: int) -> float:
    """Of one RBF-SVM a label on [mean, min, max] of a bag; two thirds train, one third tests."""
    patches = bags.instances.reshape(len(bags), PATCHES, FEATURES)
    x = np.hstack([patches.mean(1), patches.min(1), patches.max(1)])
    test, train = np.split(np.random.default_rng(split).permutation(len(x)), [round(len(x) / 3)])
    fitted = [make_pipeline(StandardScaler(), SVC()).fit(x[train], wanted[train]) for wanted in bags.targets.T]
    f = np.stack([model.decision_function(x[test]) for model in fitted], axis=1)
    scores = 0.5 + 0.5 * f / (1 + abs(f))
    return average_precision(ranks(scores, bags.targets[test], bags.known[test])) or 0.0


def main() -> None:
    scene, published = Scene(), SceneBags(order="published")
    n = len(scene)
    seen = np.stack([blobs(scene.read(i)) for i in range(n)])
    kept = published.instances.reshape(n, PATCHES, FEATURES)[:, :, :3].reshape(n, -1).astype(float)
    nearest = cdist(*(StandardScaler().fit_transform(x) for x in (seen, kept))).argmin(axis=1)
    print("share of images whose own bag is the nearest of all in colour    published    mended")
    for rows in np.split(np.arange(n), range(BLOCK, n, BLOCK)):
        shares = (nearest[rows] == rows).mean(), (nearest[rows] == bag_of_image(n)[rows]).mean()
        print(f"  images {rows[0] + 1:>4} to {rows[-1] + 1:>4}" + " " * 43 + "{:.3f}        {:.3f}".format(*shares))
    for order in ("published", "mended"):
        values = [ranking_average_precision(SceneBags(order=order), split) for split in range(SPLITS)]
        mean, std = np.mean(values), np.std(values, ddof=1)
        print(f"SVM, {SPLITS} splits, {order:<9}: average precision {mean:.3f} ± {std:.3f}")


if __name__ == "__main__":
    main()
