"""Methods that learn from unknown labels: their state, their losses, and what they begin at."""

from typing import Any

import numpy as np
import pytest
import torch
from deep_methods import ready

from retdm.batch import Batch, TrainingLabels
from retdm.errors import UserError
from retdm.losses.weak_labels.assume_negative import assume_negative
from retdm.losses.weak_labels.label_estimates import label_estimates_loss
from retdm.losses.weak_labels.large_loss import large_loss
from retdm.methods.components.chosen_loss import ChosenLoss
from retdm.methods.components.labels import cells_of_probe
from retdm.methods.networks.large_loss import LargeLoss
from retdm.methods.networks.role import Role
from retdm.runs.build import build_data, build_method

SINGLE = "data.observe=single_positive"


def cross_entropy(x: float, truth: float) -> float:
    return float(np.logaddexp(0, x) - truth * x)


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_label_estimates_loss_equals_the_loop_and_each_side_learns_from_the_other_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, estimates = (torch.randn(4, 3, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    target = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=torch.float64)
    known = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]]) > 0
    cells, sums = 0.0, [0.0, 0.0]
    for i in range(4):
        for c in range(3):
            x, e, y = logits[i, c].item(), estimates[i, c].item(), target[i, c].item()
            g = y if known[i, c] else sigmoid(e)
            cells += cross_entropy(x, g) + (cross_entropy(x, y) if known[i, c] else cross_entropy(e, sigmoid(x)))
            sums[0] += sigmoid(x)
            sums[1] += g
    expected = (cells / 12 + sum(((total / 4 - 1.5) / 3) ** 2 for total in sums)) / 2
    given = target.masked_fill(~known, torch.nan), known
    loss = label_estimates_loss(logits, estimates, *given, expected=1.5)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    loss.backward()
    assert estimates.grad is not None and logits.grad is not None
    assert (estimates.grad[known] == 0).all() and (estimates.grad[~known] != 0).all()
    # The network's own gradient, were the estimates plain numbers: central differences of its half alone.
    for i, c in ((0, 0), (1, 0), (3, 2)):
        ends = []
        for step in (1e-6, -1e-6):
            moved = logits.detach().clone()
            moved[i, c] += step
            x, y = moved[i, c].item(), target[i, c].item()
            g = y if known[i, c] else sigmoid(estimates[i, c].item())
            mean = float(moved.sigmoid().sum() / 4)
            own = cross_entropy(x, g) + (cross_entropy(x, y) if known[i, c] else 0)
            ends.append((own / 12 + ((mean - 1.5) / 3) ** 2) / 2)
        assert logits.grad[i, c].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def labels_of(rows: int, names: int) -> TrainingLabels:
    target = torch.zeros(rows, names, dtype=torch.uint8)
    target[:, 0] = 1
    return TrainingLabels(target, target > 0, torch.zeros(rows + 10, dtype=torch.int64))


@pytest.mark.parametrize(("name", "state"), [("role", "estimates.log_odds"), ("large_loss", "corrected")])
def test_what_is_known_of_each_row_is_in_the_checkpoint_and_another_set_has_other_rows(
    tiny: Any, name: str, state: str
) -> None:
    settings = tiny(f"method={name}", SINGLE)
    one, other = (build_method(settings, ["a", "b", "c"]) for _ in range(2))
    one.use_training_labels(labels_of(20, 3))  # type: ignore[operator]
    saved = one.state_dict()
    assert saved[state].shape == (30, 3)
    other.load_state_dict(saved)  # as a run's prediction does, which has no training labels
    assert torch.equal(other.state_dict()[state], saved[state])
    one.use_training_labels(labels_of(20, 3))  # type: ignore[operator]  # as a run that is continued does
    assert torch.equal(one.state_dict()[state], saved[state])


def test_role_estimates_the_expected_number_of_labels_and_its_estimates_are_trained(tiny: Any) -> None:
    settings = tiny("method=role", SINGLE)
    method, batch = ready(settings)
    assert isinstance(method, Role) and method.expected.item() == pytest.approx(1.0)
    before = method.estimates(batch.index).detach().clone()
    known = build_data(settings).training_labels().target  # the positives alone
    frequent = [(count + 1) / (len(known) + 2) for count in known.sum(0).tolist()]
    assert before[0].sigmoid().tolist() == pytest.approx(frequent, rel=1e-5)
    assert (before == before[0]).all()
    method.training_step(batch, 0)["loss"].backward()
    gradient = method.estimates.log_odds.grad
    assert gradient is not None
    rows = torch.zeros(len(gradient), dtype=torch.bool)
    rows[batch.index] = True
    assert (gradient[~rows] == 0).all() and ((gradient[batch.index] != 0) == ~batch.known).all()
    estimates = before.clone().requires_grad_()
    with torch.no_grad():
        _, logits = method.embed_and_classify(batch)
    label_estimates_loss(logits, estimates, batch.target, batch.known, expected=method.expected).backward()
    assert estimates.grad is not None
    torch.testing.assert_close(gradient[batch.index], batch.target.numel() * estimates.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("words", [("role", "expected={}"), ("bce", "loss={{name: expected_positives, expected: {}}}")])
def test_more_labels_than_there_are_cannot_be_expected(tiny: Any, words: tuple[str, str]) -> None:
    name, expected = words
    build_method(tiny(f"method={name}", f"method.{expected.format(3)}"), ["a", "b", "c"])
    settings = tiny(f"method={name}", f"method.{expected.format(3.5)}")
    with pytest.raises(UserError, match=r"expected=3\.5, and an image has at most 3 labels"):
        build_method(settings, ["a", "b", "c"])


def test_large_losses_become_positive_for_good_from_the_second_pass_on(tiny: Any) -> None:
    method, batch = ready(tiny("method=large_loss", SINGLE, "method.rate=0.05"))
    assert isinstance(method, LargeLoss)
    method.train()
    cells = batch.target.numel()

    def step() -> float:
        loss = method.losses(batch)["classification"]
        method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=0.1))
        return float(loss)

    with torch.no_grad():
        _, logits = method.embed_and_classify(batch)
    plain = assume_negative(logits, batch.target, batch.known).item()
    assert step() == pytest.approx(plain, rel=1e-5) and not method.corrected.any()
    method.stage_epoch = 1
    for times in (1, 2):
        step()
        found = method.corrected[batch.index]
        assert found.sum() == times * -(-cells // 20)
        assert not (found & batch.known).any() and method.corrected.sum() == found.sum()
    flipped = assume_negative(logits, torch.where(found, 1, batch.target), batch.known | found).item()
    method.stage_epoch = 0
    assert step() == pytest.approx(flipped, rel=1e-5)


def test_a_row_that_comes_twice_in_a_batch_keeps_what_either_has(tiny: Any) -> None:
    method, batch = ready(tiny("method=large_loss", SINGLE))
    assert isinstance(method, LargeLoss)
    large = torch.zeros(4, batch.target.shape[1], dtype=torch.bool)
    large[0, 1] = large[3, 2] = True
    row = batch.index[:1].repeat(4)
    method.found = batch._replace(index=row), large
    method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=0.1))
    assert method.corrected[row[0]].nonzero().flatten().tolist() == [1, 2] and method.corrected.sum() == 2


def test_a_loss_is_given_the_pass_in_training_and_none_in_validation(tiny: Any) -> None:
    method, batch = ready(tiny("method=bce", SINGLE, "method.loss={name: large_loss, rate: 0.1}"))
    with torch.no_grad():
        _, logits = method.embed_and_classify(batch)

    def loss() -> float:
        return float(method.losses(batch)["classification"])

    assert isinstance(batch, Batch)
    for mode, epoch in ((True, 3), (False, 0)):
        method.train(mode)
        method.stage_epoch = 3
        with torch.no_grad():
            _, logits = method.embed_and_classify(batch)
        expected = large_loss(logits, batch.target, batch.known, rate=0.1, epoch=epoch)
        assert loss() == pytest.approx(expected.item(), rel=1e-5)


def test_a_probe_reads_unknown_labels_as_the_loss_does() -> None:
    target = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    known = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)  # only the second label has a known negative
    assert np.array_equal(cells_of_probe(target, known, "left_out"), known)
    assert cells_of_probe(target, known, "absent").all()
    assert np.array_equal(
        cells_of_probe(target, known, "absent_without_negatives"), known | np.array([True, False, True])
    )
    kinds = {"assume_negative": "absent", "entropy": "absent_without_negatives", "partial_bce": "left_out"}
    assert {name: ChosenLoss(name).unknown_at_the_probe for name in kinds} == kinds
