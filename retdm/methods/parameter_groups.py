"""The groups of an optimizer: parameters that share a rate and a weight decay."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from retdm.backbones.base import Backbone


def parameter_groups(
    components: Mapping[str, nn.Module],
    lr_factor: Mapping[str, float],
    layer_decay: float,
    backbone: Backbone,
) -> list[dict[str, Any]]:
    """A group for each component and for each layer that ``lr_factor`` names.

    Each is divided into matrices and vectors (biases and scales), to which weight decay need not apply; and by the
    backbone's stages where ``layer_decay`` is below 1. All components have groups from the start, so that a resumed run
    finds those it saved, whatever its stage.

    Args:
        components: the whole network, by name.
        lr_factor: component, or a layer of one by its dotted name, -> what the rate is multiplied by; 1 where none is.
        layer_decay: what the rate is multiplied by for each step from the head into the backbone, whose stages are
            counted by :meth:`retdm.backbones.base.Backbone.depths`; from above 0 to 1.
        backbone: a part of one component.

    Returns:
        ``name``, ``params``, ``lr_factor`` and ``is_vectors`` of each; none is empty.
    """
    names = {**components, **lr_factor}
    depths: dict[Tensor, int] = {}
    if layer_decay < 1:
        depths = {backbone.get_parameter(name): depth for name, depth in backbone.depths().items()}
    groups: dict[tuple[str, int, bool], list[nn.Parameter]] = {}
    for component, module in components.items():
        for path, parameter in module.named_parameters(prefix=component):
            owner = max((name for name in names if path == name or path.startswith(f"{name}.")), key=len)
            depth = depths.get(parameter, 0)
            groups.setdefault((owner, depth, parameter.ndim < 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "name": f"{owner}.depth{depth}" if depth else owner,
            "lr_factor": lr_factor.get(owner, 1.0) * layer_decay**depth,
            "is_vectors": is_vectors,
        }
        for (owner, depth, is_vectors), parameters in groups.items()
    ]
