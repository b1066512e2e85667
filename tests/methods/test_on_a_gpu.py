"""Steps and scores of every deep method on tensors that pretend to lie on a GPU; none is needed.

A tensor on the wrong device raises ``FakeTensorDeviceMismatchError``; a value that the host reads, which would wait for
the GPU, raises ``DataDependentOutputException``, and a shape that depends on values ``DynamicOutputShapeException``.
"""

import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
import torch.distributed as dist
from deep_methods import METHODS, class_of
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.testing._internal.distributed.fake_pg import FakeStore

import retdm.losses
from retdm.batch import BagBatch, Batch, FeatureBatch, TrainingLabels, tensors_of
from retdm.errors import UserError
from retdm.losses import gather_rows
from retdm.methods.components.chosen_loss import ChosenLoss
from retdm.methods.components.heads import Head
from retdm.methods.components.pooling import Pooling
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_method
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]

ROWS, LABELS, SIDE, DIM = 6, 5, 32, 7


def losses() -> Iterator[str]:
    """Names of the losses that ``method.loss`` takes."""
    for each in pkgutil.iter_modules(retdm.losses.__path__):
        try:
            yield ChosenLoss(each.name).name
        except UserError:
            continue


METHOD_KINDS = [(name, kind) for name in METHODS for kind in sorted(class_of(name).takes, key=str)]
HEADS = [f"method.head={head}" for head in get_args(Head)]
CASES = [
    *((f"method={name}", kind) for name, kind in METHOD_KINDS),
    *((f"method={name} precompute=true", FeatureBatch) for name in METHODS),
    *((f"method=bce {head}", Batch) for head in HEADS),
    *((f"method=bce {head} precompute=true", FeatureBatch) for head in HEADS),
    *((f"method=bce method.loss={loss}", Batch) for loss in losses()),
    *((f"method=mil method.pooling={pooling}", BagBatch) for pooling in get_args(Pooling)),
    ("method=mil method.space=embeddings", BagBatch),
    ("method=mil method.instances=grid method.grid=2", Batch),
    ("method=retdm method.head=csra", Batch),
    ("method=bce method.loss=distribution_balanced", Batch),
    ("method=retdm method.pos_weight=balanced", Batch),
    ("method=retdm method.pool=train method.k=2 method.min_known=0.5", Batch),
    ("method=retdm method.score=label_sets", Batch),
    ("method=retdm method.rival_image=first", Batch),
]


def fake(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cuda")


def move(module: nn.Module) -> None:
    """Replace all parameters and buffers by fake ones."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(fake(parameter), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = fake(buffer)


def batch_of(kind: type, method: DeepMethod) -> Any:
    labels = (torch.zeros(ROWS, LABELS), torch.ones(ROWS, LABELS, dtype=torch.bool))
    index = torch.arange(ROWS)
    if kind is BagBatch:
        return BagBatch(index, torch.zeros(ROWS, 4, DIM), torch.ones(ROWS, 4, dtype=torch.bool), *labels)
    if kind is FeatureBatch:
        features = method.encoder.extract(torch.zeros(ROWS, 3, SIDE, SIDE))
        return FeatureBatch(index, features.detach(), *labels)
    return Batch(index, torch.zeros(ROWS, 3, SIDE, SIDE, dtype=torch.uint8), *labels)


def built(tiny: Tiny, words: str, kind: type) -> DeepMethod:
    """The method that the words choose, its training labels known."""
    method = build_method(tiny(*words.split()), [f"l{j}" for j in range(LABELS)], dim=DIM if kind is BagBatch else None)
    assert isinstance(method, DeepMethod)
    rows = torch.randint(0, 2, (200, LABELS), dtype=torch.uint8)
    method.use_training_labels(TrainingLabels(rows, torch.ones(200, LABELS, dtype=torch.bool), torch.ones(400).long()))
    return method


def take_steps(method: DeepMethod, real: Any) -> None:
    """A step of training and of validation in each stage, and the scores, on fake tensors."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        move(method)
        there = {name: fake(column) for name, column in tensors_of(real).items()}
        batch = method.on_after_batch_transfer(real._replace(**there), 0)
        for stage in method.stages:
            method.stage, method.stage_step = stage, 1  # at the first step of a stage a method may read a value
            method.train()
            assert method.training_step(batch, 0)["loss"].device.type == "cuda"
            method.on_before_optimizer_step(None)  # type: ignore[arg-type]
            method.eval()
            found = method.validation_step(batch, 0)
            assert found["predictions"].scores.device.type == found["loss"].device.type == "cuda"
        of_whole_images = isinstance(batch, FeatureBatch) and batch.features.ndim == 2  # which have no regions
        if method.scores_instances and not of_whole_images:
            assert method.instance_scores(batch).device.type == "cuda"


@pytest.fixture
def unfaked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what cannot be faked: pinned memory, and cuDNN's LSTM."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)


@pytest.fixture
def two_processes() -> Iterator[None]:
    """This process is the first of two that never speak to each other."""
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("unfaked")
@pytest.mark.parametrize(("words", "kind"), [pytest.param(*case, id=f"{case[0]} {case[1].__name__}") for case in CASES])
def test_nothing_lies_on_another_device_and_no_step_waits_for_the_gpu(tiny: Tiny, words: str, kind: type) -> None:
    method = built(tiny, words, kind)
    take_steps(method, batch_of(kind, method))


@pytest.mark.usefixtures("unfaked", "two_processes")
@pytest.mark.parametrize(("name", "kind"), METHOD_KINDS)
def test_no_step_of_several_processes_waits_for_the_gpu(tiny: Tiny, name: str, kind: type) -> None:
    method = built(tiny, f"method={name}", kind)
    take_steps(method, batch_of(kind, method)._replace(total=2 * ROWS - 1))


@pytest.mark.usefixtures("two_processes")
def test_what_would_wait_is_found() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        scores = torch.ones(3, device="cuda")
        for wait in (lambda: bool(scores.all()), lambda: scores.tolist(), lambda: gather_rows(scores)):
            with pytest.raises(DataDependentOutputException):
                wait()
        with pytest.raises(DynamicOutputShapeException):
            scores[scores > 0]
        with pytest.raises(RuntimeError, match="device"):
            scores + torch.ones(3)
