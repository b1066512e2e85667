"""Two processes with uneven slices of a batch against one process with all of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from gradients import gradient
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from retdm.losses import binary_cross_entropy, gather_rows, mean_over_batch, squared_error, two_way_metric

SLICES = (slice(0, 3), slice(3, 5))


class Nets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.label_net = nn.Linear(6, 3), nn.Linear(4, 3)
        self.classifier, self.reconstruction = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        image, label = self.encoder(x), self.label_net(target)
        return image, label, self.classifier(image), self.reconstruction(label)


def data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    target = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]]).double()
    known = torch.ones(5, 4, dtype=torch.bool)
    known[1, 2:] = False
    return x, target, known


def train_once(rows: slice, wrap: Callable[[nn.Module], nn.Module] = lambda nets: nets) -> dict[str, Any]:
    """The losses of RETDM on some rows and the gradient of their weighted sum."""
    x, target, known = (part[rows] for part in data())
    torch.manual_seed(1)
    nets = Nets().double()
    wrapped = wrap(nets)  # named, because DistributedDataParallel must outlive the backward pass
    image, label, logits, rebuilt = wrapped(x, target)
    losses = {
        "mean": binary_cross_entropy(logits, target, known),
        "sum": binary_cross_entropy(logits, target, known, reduction="sum"),
        "reconstruction": squared_error(rebuilt, target, known),
        "metric": two_way_metric(
            gather_rows(image, total=5),
            gather_rows(label, total=5),
            gather_rows(target),
            k=2,
            valid=gather_rows(known.all(1)),
            seed=7,
        ),
        "of known labels": two_way_metric(
            gather_rows(image, total=5),
            gather_rows(label, total=5),
            gather_rows(target.where(known, 0.25)),
            k=2,
            valid=gather_rows(known.sum(1) >= 2),
            seed=7,
        ),
    }
    metrics = 0.7 * losses["metric"] + 0.4 * losses["of known labels"]
    (losses["mean"] + 0.5 * losses["sum"] + 0.3 * losses["reconstruction"] + metrics).backward()
    return {
        "losses": {name: value.item() for name, value in losses.items()},
        "gradients": {name: gradient(parameter) for name, parameter in nets.named_parameters()},
    }


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result = train_once(SLICES[rank], DistributedDataParallel)
    result["integers"] = gather_rows(torch.arange(12).view(4, 3) if rank else torch.zeros(0, 3, dtype=torch.int64))
    result["told"] = gather_rows(torch.arange(5)[SLICES[rank]], total=5)
    try:
        gather_rows(torch.arange(rank + 1), total=3)  # the first rank has two of three
    except ValueError as error:
        result["refused"] = str(error)
    result["booleans"] = gather_rows(torch.tensor([True, False][: 2 - rank]))
    mine = torch.full((rank + 1, 2), float(rank + 1), requires_grad=True)
    gathered = gather_rows(mine)
    (gathered * torch.arange(6.0).view(3, 2)).sum().backward()
    result["rows"], result["slice"] = gathered.detach(), gradient(mine)
    result["lopsided"] = mean_over_batch(torch.tensor([4.0, 6.0]), torch.tensor([0.5, 0.0]) * rank).item()
    result["weightless"] = mean_over_batch(torch.ones(2), torch.zeros(2)).item()
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two_processes")
    start_processes(work, args=(str(folder),), nprocs=2, start_method="fork")  # PyTorch is imported once
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return train_once(slice(None))


def test_two_processes_give_the_gradient_of_one(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    for result in two:
        for name, expected in one["gradients"].items():
            torch.testing.assert_close(result["gradients"][name], expected, rtol=0, atol=1e-10, msg=name)
            assert expected.abs().max() > 1e-3, f"{name} is not trained, so nothing is compared"


@pytest.mark.parametrize("name", ["mean", "sum", "reconstruction", "metric", "of known labels"])
def test_the_mean_over_two_processes_is_the_loss_of_one(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    mean = sum(result["losses"][name] for result in two) / 2
    assert mean == pytest.approx(one["losses"][name], abs=1e-10)


def test_the_metric_is_the_same_on_every_process(two: list[dict[str, Any]]) -> None:
    assert two[0]["losses"]["metric"] == two[1]["losses"]["metric"]


def test_rows_are_gathered_in_rank_order_whatever_their_type_and_number(two: list[dict[str, Any]]) -> None:
    for result in two:
        assert result["integers"].tolist() == torch.arange(12).view(4, 3).tolist()
        assert result["booleans"].tolist() == [True, False, True] and result["booleans"].dtype == torch.bool
        assert result["rows"].tolist() == [[1, 1], [2, 2], [2, 2]]


def test_a_rank_that_is_told_the_rows_of_the_global_batch_asks_no_other(two: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(two):
        assert result["told"].tolist() == [0, 1, 2, 3, 4]
        assert result["refused"] == f"of 3 rows rank {rank} has {2 - rank}, got {rank + 1}"


def test_own_rows_get_their_slice_of_the_gradient_times_the_processes(two: list[dict[str, Any]]) -> None:
    assert two[0]["slice"].tolist() == [[0, 2]]
    assert two[1]["slice"].tolist() == [[4, 6], [8, 10]]


def test_a_process_without_weight_gives_zero_and_the_other_makes_up_for_it(two: list[dict[str, Any]]) -> None:
    assert [result["lopsided"] for result in two] == [0, 8]
    assert [result["weightless"] for result in two] == [0, 0]


def test_one_process_gathers_what_it_has() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert gather_rows(x) is x


def test_mean_over_batch_is_the_weighted_mean() -> None:
    value = torch.tensor([[1.0, 2.0], [3.0, 6.0]], requires_grad=True)
    assert mean_over_batch(value).item() == 3
    assert mean_over_batch(value, torch.tensor([[True, False], [True, True]])).item() == pytest.approx(10 / 3)
    assert mean_over_batch(value, torch.tensor([[0.25], [0.5]])).item() == pytest.approx((0.75 + 4.5) / 1.5)
    loss = mean_over_batch(value, torch.zeros(2, 2))
    loss.backward()
    assert loss.item() == 0 and not gradient(value).any()
