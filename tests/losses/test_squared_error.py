import pytest
import torch
from gradients import gradient

from retdm.losses import squared_error

OUTPUT = torch.tensor([[0.5, -1.0, 2.0], [0.25, 1.0, 3.0]])
TARGET = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])


def test_is_the_mean_over_all_cells() -> None:
    assert squared_error(OUTPUT, TARGET).item() == pytest.approx((0.25 + 1 + 1 + 0.0625 + 0 + 4) / 6)


def test_unknown_cells_count_in_neither_sum_nor_denominator() -> None:
    known = torch.tensor([[True, False, False], [True, True, False]])
    output = OUTPUT.clone().requires_grad_()
    loss = squared_error(output, TARGET.masked_fill(~known, torch.nan), known)
    loss.backward()
    assert loss.item() == pytest.approx((0.25 + 0.0625 + 0) / 3)
    assert gradient(output).flatten().tolist() == pytest.approx([-1 / 3, 0, 0, 0.5 / 3, 0, 0])


def test_no_known_cell_gives_zero_with_a_graph() -> None:
    output = OUTPUT.clone().requires_grad_()
    loss = squared_error(output, TARGET, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not gradient(output).any()


def test_half_precision_is_computed_in_float32() -> None:
    output = torch.full((3, 2), 300.0, dtype=torch.float16, requires_grad=True)  # its square exceeds float16
    loss = squared_error(output, torch.zeros(3, 2, dtype=torch.int64))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == 90000 and gradient(output).dtype == torch.float16


def test_gradient_in_float64() -> None:
    known = torch.tensor([[True, False, True], [True, True, False]])
    assert torch.autograd.gradcheck(lambda x: squared_error(x, TARGET, known), OUTPUT.double().requires_grad_())


def test_unequal_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \[\(2, 3\), \(2, 2\)\]"):
        squared_error(OUTPUT, TARGET[:, :2])
