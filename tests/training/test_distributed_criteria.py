"""Two processes with uneven batches, or with none, against one process with all rows."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from awkward import NAMES, Case, awkward, expected
from torch import Tensor
from torch.multiprocessing.spawn import start_processes
from torchmetrics import MetricCollection

from retdm.training.criteria_metric import MultilabelCriteria, MultilabelCriterion

SOME = ("mAP", "O-F1")
SHARES = {"uneven": [[3, 9, 1], [16]], "nothing on one": [[40], []]}  # sizes of each process's batches


def values(computed: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in computed.items()}


def computed(rank: int, shares: list[list[int]]) -> dict[str, Any]:
    case = awkward(0)
    scores, target, known = torch.tensor(case.scores).float(), torch.tensor(case.target), torch.tensor(case.known)
    metric = MultilabelCriteria(NAMES)
    collection = MetricCollection({each: MultilabelCriterion(each, NAMES) for each in SOME})
    start = sum(shares[0]) * rank
    for size in shares[rank]:
        rows = torch.arange(start, start + size)
        metric.update(scores[rows], target[rows], known[rows], rows)
        collection.update(scores[rows], target[rows], known[rows])
        start += size
    return {
        "all": values(metric.compute()),
        "some": values(collection.compute()),
        "index": metric.gathered()["index"].tolist(),
        "own": sum(map(len, metric.index)),  # its own rows are what they were before
    }


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({name: computed(rank, shares) for name, shares in SHARES.items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_compute_what_one_does_of_all_rows(tmp_path: Path) -> None:
    start_processes(work, (str(tmp_path),), nprocs=2, start_method="fork")  # no imports anew: they take seconds
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, shares in SHARES.items():
            count = sum(map(sum, shares))
            wanted = expected(Case(*(column[:count] for column in awkward(0))))
            assert found[name]["all"] == wanted, name
            assert found[name]["some"] == {each: wanted[each] for each in SOME}, name
            assert found[name]["index"] == list(range(count)), name
            assert found[name]["own"] == sum(shares[rank]), name
