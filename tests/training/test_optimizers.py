import json
from collections.abc import Callable

import pytest
import torch

from retdm.commands.train import train
from retdm.errors import UserError
from retdm.methods.deep import DeepMethod
from retdm.runs.build import build_method
from retdm.runs.folder.paths import RunFolder, read_config
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


def built(settings: RunSettings) -> tuple[DeepMethod, torch.optim.Optimizer]:
    method = build_method(settings, ["a", "b"])
    assert isinstance(method, DeepMethod)
    return method, method.configure_optimizers()


def test_the_optimizer_has_a_group_a_component_and_the_settings_that_were_chosen(tiny: Tiny) -> None:
    method, sgd = built(tiny("method=retdm", "optimizer.momentum=0.8"))
    assert isinstance(sgd, torch.optim.SGD)
    assert list(dict.fromkeys(group["name"] for group in sgd.param_groups)) == list(method.components)
    assert {(group["momentum"], group["weight_decay"], group["nesterov"]) for group in sgd.param_groups} == {
        (0.8, 1e-4, False)
    }
    grouped = [parameter for group in sgd.param_groups for parameter in group["params"]]
    assert len(grouped) == len(list(method.parameters()))


def test_adamw_is_pytorchs(tiny: Tiny) -> None:
    _, adamw = built(tiny("method=bce", "optimizer=adamw", "optimizer.beta2=0.99"))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["betas"] == (0.9, 0.99)
    assert adamw.param_groups[0]["weight_decay"] == 0.01


def test_adamw_decays_matrices_and_neither_biases_nor_scales(tiny: Tiny) -> None:
    _, adamw = built(tiny("method=retdm", "optimizer=adamw", "optimizer.weight_decay=0.3"))
    for group in adamw.param_groups:
        assert {(parameter.ndim < 2) for parameter in group["params"]} == {group["weight_decay"] == 0}
        assert group["weight_decay"] in (0, 0.3)


def test_a_layer_has_its_own_factor_and_leaves_the_rest_of_its_component_theirs(tiny: Tiny) -> None:
    factors = "++method.lr_factor={encoder:0.5,encoder.backbone:0.1}"
    method, optimizer = built(tiny("method=bce", "method.embedding_dim=4", factors))
    groups: dict[str, set[torch.nn.Parameter]] = {}
    for group in optimizer.param_groups:
        groups.setdefault(group["name"], set()).update(group["params"])
        assert group["lr_factor"] == {"encoder": 0.5, "classifier": 1.0, "encoder.backbone": 0.1}[group["name"]]
    assert groups["encoder.backbone"] == set(method.encoder.backbone.parameters())
    rest = set(method.encoder.parameters()) - set(method.encoder.backbone.parameters())
    assert rest and groups["encoder"] == rest


@pytest.mark.parametrize(
    "override, message",
    [
        ("optimizer.momentum=1.5", r"optimizer\.momentum=1\.5 is not a number from 0 to below 1"),
        ("optimizer.weight_decay=-1", r"optimizer\.weight_decay=-1 is not a number of at least 0"),
        ("+optimizer.momentun=0.5", r"optimizer\.momentun is not a setting of sgd"),
        ("optimizer._target_=torch.optim.SGD", "is not the settings of an optimizer"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tiny: Tiny, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny("method=bce", override)


def test_nesterov_without_momentum_is_refused_before_data_is_read(tiny: Tiny) -> None:
    settings = tiny("method=bce", "optimizer.momentum=0", "optimizer.nesterov=true")
    with pytest.raises(UserError, match=r"optimizer\.nesterov=true: there is no momentum"):
        train(settings)
    assert not settings.folder.exists()


def test_the_optimizer_names_the_folder_of_a_network_and_not_that_of_a_fitted_method(tiny: Tiny) -> None:
    assert tiny("method=bce").identity["optimizer"]["momentum"] == 0.9
    assert tiny("method=bce").folder != tiny("method=bce", "optimizer=adamw").folder
    assert tiny("method=lr").identity["optimizer"] == {}


def test_a_run_trains_with_adamw_and_says_so(tiny: Tiny) -> None:
    """From the labels' frequencies, whose binary cross-entropy is about .6 here, to less."""
    folder = train(tiny("method=bce", "optimizer=adamw", "schedule=adamw", "schedule.end_to_end.max_epochs=40"))
    (stage,) = json.loads((folder / "metrics.json").read_text())["stages"]
    assert stage["train_loss"] < 0.45
    config = read_config(RunFolder(folder))
    assert config["choices"]["optimizer"] == "adamw"
    assert config["optimizer"]["_target_"] == "retdm.training.optimizers.AdamW"


def test_layer_decay_divides_the_backbone_by_its_stages(tiny: Tiny) -> None:
    words = ["method=bce", "method.embedding_dim=4", "backbone.channels=[8,16,8]", "method.layer_decay=0.5"]
    method, optimizer = built(tiny(*words, "++method.lr_factor={encoder:0.1}"))
    factor = {parameter: group["lr_factor"] for group in optimizer.param_groups for parameter in group["params"]}
    assert len(factor) == len(list(method.parameters()))
    convolutions = [module for module in method.encoder.backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    for depth, convolution in enumerate(reversed(convolutions), 1):
        assert {factor[each] for each in convolution.parameters()} == {0.1 * 0.5**depth}
    assert {factor[each] for each in method.encoder.layers.parameters()} == {0.1}
    assert {factor[each] for each in method.classifier.parameters()} == {1.0}


def test_a_run_with_layer_decay_records_the_rate_of_each_stage(tiny: Tiny) -> None:
    folder = RunFolder(train(tiny("method=bce", "method.layer_decay=0.5")))
    rates = json.loads(folder.history.read_text().splitlines()[0])["rates"]
    assert rates["encoder.depth1"] == pytest.approx(0.5 * rates["classifier"])
    assert rates["encoder.depth2"] == pytest.approx(0.25 * rates["classifier"])
