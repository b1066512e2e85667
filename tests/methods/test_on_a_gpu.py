"""Losses and scores of every deep method on tensors that pretend to lie on a GPU; none is needed.

A tensor on the wrong device raises ``FakeTensorDeviceMismatchError``; a value that the host reads, which would wait for
the GPU, raises ``DataDependentOutputException``.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from deep_methods import METHODS, class_of
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from retdm.batch import BagBatch, Batch, FeatureBatch, TrainingLabels
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_method

ROWS, LABELS, SIDE, DIM = 6, 5, 32, 7


KINDS = [
    pytest.param(name, kind, id=f"{name}-{kind.__name__}")
    for name in METHODS
    for kind in sorted(class_of(name).takes, key=str)  # alike in every process of the tests
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


@pytest.mark.parametrize("name, kind", KINDS)
def test_nothing_lies_on_another_device_and_no_step_waits_for_the_gpu(
    tiny: Callable[..., Any], name: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What these two do cannot be faked.
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    settings = tiny(f"method={name}")
    method: Any = build_method(settings, [f"l{j}" for j in range(LABELS)], dim=DIM if kind is BagBatch else None)
    rows = torch.randint(0, 2, (20, LABELS), dtype=torch.uint8)
    method.use_training_labels(TrainingLabels(rows, torch.ones(20, LABELS, dtype=torch.bool), torch.ones(40).long()))
    real = batch_of(kind, method)
    with FakeTensorMode(allow_non_fake_inputs=True):
        move(method)
        batch = method.on_after_batch_transfer(kind(*(fake(column) for column in real)), 0)
        for stage in method.stages:
            method.stage, method.stage_step = stage, 1  # at the first step of a stage a method may read a value
            for training in (True, False):
                method.train(training)
                losses = method.losses(batch)
                total = method.total({term: losses[term] for term in method.active})
                assert total.device.type == "cuda"
        method.eval()
        assert method.scores(batch).device.type == "cuda"
        if method.scores_instances:
            assert method.instance_scores(batch).device.type == "cuda"


def test_a_value_that_the_host_reads_and_a_tensor_on_the_cpu_are_found() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        scores = torch.ones(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            bool(scores.all())
        with pytest.raises(RuntimeError, match="device"):
            scores + torch.ones(3)
