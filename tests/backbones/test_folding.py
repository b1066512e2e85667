import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import DenseNet, MobileNetV2, ResNet
from torchvision.models.resnet import Bottleneck

from retdm.backbones.folding import fold_batchnorm


class Biased(nn.Module):
    """Two convolutions with a bias, one of them grouped and strided, each before a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, eps=1e-2)
        self.rest = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6), nn.Flatten())

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.rest(self.norm(self.first(image)))
        return out


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and the number of BatchNorms that follow a convolution
    "biased": (Biased, 2),
    "mobilenet_v2": (lambda: MobileNetV2(num_classes=3, width_mult=0.1, dropout=0), 52),
    "resnet": (lambda: ResNet(Bottleneck, [1, 1, 1, 1], num_classes=3, width_per_group=8), 17),
    # In its blocks a BatchNorm comes first; only those of the 1x1 convolutions and the stem follow one.
    "densenet": (lambda: DenseNet(4, (2, 2), num_init_features=8, bn_size=2, num_classes=3), 5),
}


def with_history(net: nn.Module) -> nn.Module:
    """In float64, with statistics and scales as training leaves them, BatchNorm frozen."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5), (module.bias, -0.5, 0.5), (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.2, 3.0),
            ):  # fmt: skip
                assert tensor is not None
                with torch.no_grad():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return net.double().eval()


@pytest.fixture(params=NETS)
def nets(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module, int, int]:
    """The net, a folded copy, the pairs that were folded and those that there are."""
    torch.manual_seed(0)
    build, pairs = NETS[request.param]
    plain = with_history(build())
    folded = copy.deepcopy(plain)
    return plain, folded, fold_batchnorm(folded), pairs


def test_every_batchnorm_that_follows_a_convolution_is_folded(nets: tuple[nn.Module, nn.Module, int, int]) -> None:
    _, _, found, pairs = nets
    assert found == pairs


def test_folding_changes_neither_the_output_nor_any_gradient(nets: tuple[nn.Module, nn.Module, int, int]) -> None:
    plain, folded, _, _ = nets
    image = torch.rand(2, 3, 33, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for net in (plain, folded):
        given = image.clone().requires_grad_()
        out = net(given)
        (out.sin() * torch.arange(1, out.numel() + 1).view_as(out)).sum().backward()
        gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
        results.append((out, given.grad, gradients))
    (out, by_image, gradients), (folded_out, folded_by_image, folded_gradients) = results
    close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(folded_out, out, **close)
    torch.testing.assert_close(folded_by_image, by_image, **close)
    assert list(folded_gradients) == list(gradients)
    for name, gradient in gradients.items():
        other = folded_gradients[name]
        assert gradient is not None and other is not None, name
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(other / scale, gradient / scale, **close, msg=name)


def test_folding_changes_no_name_and_no_value_of_the_state(nets: tuple[nn.Module, nn.Module, int, int]) -> None:
    plain, folded, _, _ = nets
    state, folded_state = plain.state_dict(), folded.state_dict()
    assert list(folded_state) == list(state)
    assert all(torch.equal(folded_state[name], state[name]) for name in state)
    assert [name for name, _ in folded.named_parameters()] == [name for name, _ in plain.named_parameters()]


def test_a_folded_net_can_be_copied_and_takes_another_state(nets: tuple[nn.Module, nn.Module, int, int]) -> None:
    plain, folded, _, _ = nets
    image = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    copied = copy.deepcopy(folded)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    torch.testing.assert_close(copied(image), plain(image))
    folded.load_state_dict(plain.state_dict())
    torch.testing.assert_close(folded(image), plain(image))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
        nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 1), nn.BatchNorm2d(4)),
    ],
    ids=["ReLU between", "BatchNorm first", "in another block", "GroupNorm", "transposed"],
)
def test_what_is_no_pair_is_left_as_it_is(net: nn.Module) -> None:
    net = with_history(net)
    image = torch.rand(2, 3, 5, 5, dtype=torch.float64)
    expected, kinds = net(image), [type(module) for module in net.modules()]
    assert fold_batchnorm(net) == 0
    assert [type(module) for module in net.modules()] == kinds
    assert torch.equal(net(image), expected)
