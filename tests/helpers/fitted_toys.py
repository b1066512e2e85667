"""Small problems for fitted methods, and each of these methods with settings that make it quick."""

from typing import Any, NamedTuple

import numpy as np
import torch

from retdm.backbones import NoBackbone
from retdm.backbones.vgg import VGGSmall
from retdm.bags import Bags
from retdm.batch import BagBatch, FeatureBatch
from retdm.methods.fitted import FittedMethod
from retdm.methods.on_bags.bag_embedding import BagEmbedding
from retdm.methods.on_bags.bag_of_words import BagOfWords
from retdm.methods.on_bags.base import BagMethod
from retdm.methods.on_bags.dba import DBA
from retdm.methods.on_bags.emd_svm import EMDSVM
from retdm.methods.on_bags.kisar import KISAR
from retdm.methods.on_bags.mi_svm import MiSVM
from retdm.methods.on_bags.mimlfast import MIMLfast
from retdm.methods.on_bags.mimlknn import MIMLkNN
from retdm.methods.on_bags.mimlsvm import MIMLSVM
from retdm.methods.on_bags.ranklsim import RankLossSIM
from retdm.methods.on_features.lmmo_knn import LMMOkNN
from retdm.methods.on_features.logistic import Logistic
from retdm.methods.on_features.ml_knn import MLkNN
from retdm.methods.on_features.mlspl import MLSPL

LABELS = ["a", "b", "c"]
WIDTH = 80  # features of the small backbone

CASES: dict[str, tuple[type[FittedMethod], dict[str, Any]]] = {
    "logistic": (Logistic, {}),
    "logistic_l2": (Logistic, {"penalty": "l2", "standardise": True}),
    "ml_knn": (MLkNN, {}),
    "lmmo_knn": (LMMOkNN, {"ridge": 30.0}),
    "lmmo_knn_labels": (LMMOkNN, {"neighbours": "labels", "ridge": 30.0}),
    "mlspl": (MLSPL, {"rounds": 3, "groups": 3, "penalty": 3.0}),
    "mlloc": (MLSPL, {"rounds": 3, "groups": 3, "penalty": 3.0, "pace": "none"}),
    "bag_embedding": (BagEmbedding, {}),
    "bag_of_words": (BagOfWords, {"words": 6}),
    "bag_of_words_chi2": (BagOfWords, {"words": 6, "classifier": "chi2"}),
    "dba": (DBA, {"rounds": 10}),
    "emd_svm": (EMDSVM, {}),
    "kisar": (KISAR, {"prototypes": 6, "rounds": 3}),
    "mi_svm": (MiSVM, {"rounds": 3}),
    "mi_svm_linear": (MiSVM, {"rounds": 3, "kernel": "linear"}),
    "mi_svm_witness": (MiSVM, {"rounds": 3, "witness": True}),
    "mimlfast": (MIMLfast, {"D": 6, "K": 2, "variant": "minibatch", "epochs": 3, "eta": 0.05}),
    "mimlknn": (MIMLkNN, {"references": 3, "citers": 3}),
    "mimlsvm": (MIMLSVM, {}),
    "ranklsim": (RankLossSIM, {"rounds": 2, "steps": 200}),
}


class Toy(NamedTuple):
    """The arguments of ``fit``."""

    examples: Any
    target: np.ndarray
    known: np.ndarray

    def bag(self, i: int) -> np.ndarray:
        bag: np.ndarray = self.examples.take(np.array([i])).instances
        return bag

    def take(self, rows: np.ndarray) -> "Toy":
        return Toy(subset(self.examples, rows), self.target[rows], self.known[rows])


def made(name: str, **settings: Any) -> Any:
    kind, quick = CASES[name]
    backbone = NoBackbone(4) if issubclass(kind, BagMethod) else VGGSmall(channels=[8, 8])
    return kind(backbone, LABELS, **{**quick, **settings})  # type: ignore[arg-type]


def fitted(name: str, toy: Toy, **settings: Any) -> Any:
    method = made(name, **settings)
    method.fit(*toy)
    return method


def toy_for(name: str, n: int = 60, seed: int = 0) -> Toy:
    return toy(n, seed=seed) if issubclass(CASES[name][0], BagMethod) else feature_toy(n, seed)


def toy(n: int = 60, dim: int = 4, seed: int = 0) -> Toy:
    """Bags of 1 to 5 instances; those with a label of the first two have an instance in its place, and no bag has the
    third."""
    rng = np.random.default_rng(seed)
    target = np.zeros((n, 3), np.uint8)
    target[:, :2] = rng.random((n, 2)) < 0.4
    bags = []
    for row in target:
        bag = rng.normal(0, 1, (rng.integers(2, 6) if row.sum() == 2 else rng.integers(1, 6), dim))
        for place, label in enumerate(np.flatnonzero(row)):
            bag[place] += 5 * np.eye(dim)[label]
        bags.append(bag)
    offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])])
    examples = Bags(np.concatenate(bags).astype(np.float32), offsets, np.arange(n))
    return Toy(examples, target, np.ones((n, 3), bool))


def feature_toy(n: int = 60, seed: int = 0) -> Toy:
    """Features of unlike scales, two of which show the first two labels; no row has the third."""
    rng = np.random.default_rng(seed)
    target = np.zeros((n, 3), np.uint8)
    target[:, :2] = rng.random((n, 2)) < 0.4
    x = np.abs(rng.normal(size=(n, WIDTH))) * np.linspace(0.1, 1, WIDTH)
    x[:, :2] += 6 * target[:, :2]
    return Toy(x.astype(np.float32), target, np.ones((n, 3), bool))


def subset(examples: Any, rows: np.ndarray) -> Any:
    return examples.take(rows) if isinstance(examples, Bags) else examples[rows]


def batch_of(examples: Any) -> BagBatch | FeatureBatch:
    """Examples as one batch, in which bags have one place more than any of them fills."""
    blank = torch.zeros(len(examples), len(LABELS))
    if not isinstance(examples, Bags):
        return FeatureBatch(torch.arange(len(examples)), torch.from_numpy(examples), blank, blank > 0)
    sizes = examples.sizes
    mask = np.arange(sizes.max() + 1) < sizes[:, None]
    bag = np.zeros((*mask.shape, examples.instances.shape[1]), np.float32)
    bag[mask] = examples.instances
    return BagBatch(torch.from_numpy(examples.index), torch.from_numpy(bag), torch.from_numpy(mask), blank, blank > 0)


def scored(method: Any, examples: Any) -> np.ndarray:
    scores: np.ndarray = method.scores(batch_of(examples)).numpy()
    return scores


def instances_scored(method: Any, examples: Bags) -> np.ndarray:
    """Scores of all instances (T, L)."""
    batch: Any = batch_of(examples)
    scores: np.ndarray = method.instance_scores(batch)[batch.mask].numpy()
    return scores


def decisions(scores: Any) -> np.ndarray:
    """The decision values of which ``softsign_score`` made the scores."""
    signed = 2 * np.asarray(scores) - 1
    values: np.ndarray = signed / (1 - np.abs(signed))
    return values
