import math

import pytest
import torch
from gradients import gradient
from torch import Tensor

from retdm.losses import sequence_cross_entropy

END = 3
SEQUENCE = torch.tensor([[1, 0, END, -1], [END, -1, -1, -1], [2, 1, 0, END], [-1, -1, -1, -1]])


def logits_of(size: int = 4) -> Tensor:
    return torch.randn(size, 4, END + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def definition(logits: Tensor, sequence: Tensor) -> float:
    paths = []
    for steps, labels in zip(logits.tolist(), sequence.tolist(), strict=True):
        path = [
            -math.log(math.exp(step[label]) / sum(math.exp(z) for z in step))
            for step, label in zip(steps, labels, strict=True)
            if label != -1
        ]
        if path:
            paths.append(sum(path))
    return sum(paths) / len(paths)


def test_worked_example_is_minus_log_of_the_path() -> None:
    first, second = torch.tensor([0.5, 0.4, 0.1]).log(), torch.tensor([0.9, 0.05, 0.05]).log()  # a, b, end
    path_b_a = sequence_cross_entropy(torch.stack([first, second])[None], torch.tensor([[1, 0]]))
    assert math.exp(-path_b_a.item()) == pytest.approx(0.36)


def test_equals_the_loop_over_sequences() -> None:
    logits = logits_of()
    loss = sequence_cross_entropy(logits, SEQUENCE)
    assert loss.item() == pytest.approx(definition(logits, SEQUENCE), abs=1e-12)
    assert loss.item() != pytest.approx(definition(logits[:2], SEQUENCE[:2]))


def test_padded_steps_are_never_read() -> None:
    logits = logits_of()
    given = logits.masked_fill((SEQUENCE == -1)[:, :, None], torch.nan).requires_grad_()
    loss = sequence_cross_entropy(given, SEQUENCE)
    loss.backward()
    assert loss.item() == pytest.approx(definition(logits, SEQUENCE), abs=1e-12)
    assert not gradient(given)[SEQUENCE == -1].any() and (gradient(given)[SEQUENCE != -1] != 0).all()


def test_more_padding_changes_nothing() -> None:
    logits = logits_of()
    longer = torch.cat([logits, logits], 1), torch.cat([SEQUENCE, torch.full((4, 4), -1)], 1)
    assert sequence_cross_entropy(*longer).item() == pytest.approx(sequence_cross_entropy(logits, SEQUENCE).item())


def test_gradient_in_float64() -> None:
    assert torch.autograd.gradcheck(lambda z: sequence_cross_entropy(z, SEQUENCE), logits_of().requires_grad_())


def test_no_sequence_gives_zero_with_a_graph() -> None:
    logits = logits_of(2).requires_grad_()
    loss = sequence_cross_entropy(logits, torch.full((2, 4), -1))
    loss.backward()
    assert loss.item() == 0 and not gradient(logits).any()


def test_labels_that_cannot_follow_have_no_part() -> None:
    logits = torch.tensor([[[0.0, -torch.inf, 0.0]]], requires_grad=True)
    loss = sequence_cross_entropy(logits, torch.tensor([[2]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and gradient(logits)[0, 0].tolist() == [0.5, 0, -0.5]


def test_extreme_logits_are_exact() -> None:
    logits = torch.tensor([[[-800.0, 800.0], [800.0, -800.0]]], dtype=torch.float16, requires_grad=True)
    loss = sequence_cross_entropy(logits, torch.tensor([[0, 1]]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == 3200 and gradient(logits).isfinite().all()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \[\(4, 4, 4\), \(4, 3\)\]"):
        sequence_cross_entropy(logits_of(), SEQUENCE[:, :3])
    with pytest.raises(ValueError, match="sequence must be int64, got torch.int32"):
        sequence_cross_entropy(logits_of(), SEQUENCE.int())
