"""Growth of the cost of methods on bags, and of distances between bags, with bags, instances a bag and labels.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [methods=all] [bags=100] [instances=8] [features=15] [labels=5]
        [limit=8] [repeat=2]

Each size is taken at once, twice and four times its base while the others stay. A label is a cluster of instances; a
bag has it where one of its instances is of that cluster. Methods are those of ``conf/method``, with their settings
there; ``methods`` names some, with commas. Printed: seconds at the base of a fit and of scoring as many bags, and the
exponent of growth, the slope of log seconds over log size. Nothing is subtracted: where a fixed part (a number of
steps or of clusters) is much of the time, the exponent is small. Methods that compare bags by distances compute these
too. CPU seconds of one thread, which other work on the machine changes little; the best of ``repeat``, or of one where
that took more than a second. A size is skipped where the smaller ones predict more than ``limit`` seconds.
"""

import math
import os
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # the number of cores for joblib, which would start threads

import numpy as np
import rich
import torch
from benchmark_options import options_of
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from retdm.bags import Bags
from retdm.methods.components.bag_distances import Kind
from retdm.methods.on_bags.base import BagMethod
from retdm.methods.on_bags.distance_method import DistanceMethod
from retdm.runs.build import build_method
from retdm.settings.compose import compose_settings
from retdm.training.precompute.distances import precompute_distances

OPTIONS = {"bags": 100, "instances": 8, "features": 15, "labels": 5, "limit": 8, "repeat": 2}
SIZES = ("bags", "instances", "labels")
FACTORS = (1, 2, 4)
ENOUGH = 0.1  # seconds; shorter work is repeated
METHODS = {
    "mimlsvm": "mimlsvm",
    "mimlknn": "mimlknn",
    "emd_svm": "emd_svm",
    "mimlfast": "mimlfast",
    "mimlfast_minibatch": "mimlfast method.variant=minibatch",
    "ranklsim": "ranklsim",
    "kisar": "kisar",
    "dba": "dba",
    "mi_svm": "mi_svm",
    "mi_svm_witness": "mi_svm_witness",
    "bag_of_words": "bag_of_words",
    "bag_embedding": "bag_embedding",
}


class Drawn(NamedTuple):
    """The arguments of ``fit``."""

    examples: Bags
    target: NDArray[np.uint8]
    known: NDArray[np.bool_]


def drawn(bags: int, instances: int, features: int, labels: int, seed: int) -> Drawn:
    """Bags with two instances on average of the clusters of labels; the others are of a cluster without label."""
    centres = np.random.default_rng(0).normal(0, 1, (labels + 1, features))
    rng = np.random.default_rng(seed)
    cluster = np.where(rng.random((bags, instances)) < 2 / instances, rng.integers(labels, size=(bags, instances)), -1)
    target = (cluster[..., None] == np.arange(labels)).any(1)
    rows = centres[cluster.ravel()] + rng.normal(0, 1, (bags * instances, features))
    offsets = np.arange(bags + 1) * instances
    unseen = np.full(bags, -1)  # places of no data set: methods by distance compute
    return Drawn(Bags(rows.astype(np.float32), offsets, unseen), target.astype(np.uint8), np.ones_like(target))


def seconds(work: Callable[[], Any], repeat: int) -> float:
    best, total, runs = math.inf, 0.0, 0
    while not runs or (best < 1 and (runs < repeat or total < ENOUGH)):
        start = time.process_time()
        work()
        taken = time.process_time() - start
        best, total, runs = min(best, taken), total + taken, runs + 1
    return best


class Cost(NamedTuple):
    """Seconds of fitting (or of distances), seconds of scoring, and the peak in MB if measured."""

    first: float
    scores: float = 0
    megabytes: float = 0

    @property
    def both(self) -> float:
        return self.first + self.scores


def growing(cost: Callable[[int], Cost], limit: float, base: Cost) -> list[Cost]:
    """Costs at the factors, the first one known, until one is predicted to exceed the limit."""
    found, growth = [base], 2.0
    for factor in FACTORS[1:]:
        if found[-1].both * growth > limit:
            break
        found.append(cost(factor))
        growth = found[-1].both / found[-2].both
    return found


def slope(costs: list[float]) -> str:
    """The exponent of growth, and the greatest factor measured where that is not the last."""
    if len(costs) < 2:
        return "not tried"
    exponent = np.polyfit(np.log(FACTORS[: len(costs)]), np.log(costs), 1)[0]
    return f"{exponent:.2f}" + ("" if len(costs) == len(FACTORS) else f" (to x{FACTORS[len(costs) - 1]})")


def made(words: str, labels: int, features: int) -> BagMethod:
    settings = compose_settings(["data=scene_bags", *f"method={words}".split(), "trainer.accelerator=cpu"])
    method = build_method(settings, [str(label) for label in range(labels)], dim=features)
    assert isinstance(method, BagMethod)
    return method


def of_method(words: str, sizes: dict[str, int], repeat: int, key: str, factor: int) -> Cost:
    shape = {**sizes, key: sizes[key] * factor}
    train, new = drawn(**shape, seed=1), drawn(**shape, seed=2)
    method = made(words, shape["labels"], shape["features"])
    fit = seconds(lambda: method.fit(*train), repeat)
    return Cost(fit, seconds(lambda: method.scores_of(new.examples), repeat))


def of_methods(names: list[str], sizes: dict[str, int], limit: float, repeat: int) -> Iterator[list[str]]:
    for name in names:
        words = METHODS[name]
        of_method(words, {**sizes, "bags": 20}, 1, "bags", 1)  # machine code is made once in a program's life
        base = of_method(words, sizes, repeat, "bags", 1)
        grown = [growing(partial(of_method, words, sizes, repeat, key), limit, base) for key in SIZES]
        yield [name, "fit", f"{base.first:.3f}", *(slope([cost.first for cost in costs]) for costs in grown)]
        yield ["", "scores", f"{base.scores:.4f}", *(slope([cost.scores for cost in costs]) for costs in grown)]


def of_distance(kind: Kind, sizes: dict[str, int], repeat: int, factor: int) -> Cost:
    shape = {**sizes, "bags": sizes["bags"] * factor}
    bags = drawn(**shape, seed=1).examples
    data: Any = SimpleNamespace(bags=bags, source=range(len(bags)), splits={"train": np.arange(len(bags))})
    method = made(f"mimlsvm method.distance={kind}", shape["labels"], shape["features"])
    assert isinstance(method, DistanceMethod)

    def work() -> None:
        precompute_distances(data, method.distance, method.scale, None)

    taken = seconds(work, repeat)
    tracemalloc.start()  # slows Python's own steps: the time was another run's
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(taken, megabytes=peak / 1e6)


def of_distances(sizes: dict[str, int], limit: float, repeat: int) -> Iterator[list[str]]:
    for kind in get_args(Kind):
        costs = growing(partial(of_distance, kind, sizes, repeat), limit, of_distance(kind, sizes, repeat, 1))
        cells = [f"{cost.first:.2f} s, {cost.megabytes:.0f} MB" for cost in costs]
        cells += [f"> {limit:g} s"] * (len(FACTORS) - len(cells))
        yield [kind, *cells, slope([cost.first for cost in costs]), slope([cost.megabytes for cost in costs])]


def main() -> None:
    options = options_of({"methods": "all"} | OPTIONS)
    wanted = options["methods"].split(",")
    names = [name for name in METHODS if name in wanted or wanted == ["all"]]
    sizes = {key: options[key] for key in ("bags", "instances", "features", "labels")}
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    rich.get_console().quiet = True  # no bars
    screen, began = Console(width=120, highlight=False), time.perf_counter()
    screen.print(" ".join(f"{key}={value}" for key, value in options.items()), "threads=1")
    with threadpool_limits(1):
        table = Table("method", "", "s at base", *(f"with {key}" for key in SIZES), box=None, pad_edge=False)
        for row in of_methods(names, sizes, options["limit"], options["repeat"]):
            table.add_row(*row)
            print(*row, sep="  ", file=sys.stderr, flush=True)
        screen.print(table)
        counts = [f"{2 * factor * sizes['bags']} bags" for factor in FACTORS]
        table = Table("distances", *counts, "s with bags", "MB with bags", box=None, pad_edge=False)
        for row in of_distances({**sizes, "bags": 2 * sizes["bags"]}, options["limit"], options["repeat"]):
            table.add_row(*row)
            print(*row, sep="  ", file=sys.stderr, flush=True)
        screen.print(table)
    screen.print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
