"""A program as an ONNX file, ``model.onnx``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from retdm.errors import UserError
from retdm.runs.trained.program import first_line, quiet


def to_onnx(program: ExportedProgram) -> Any:
    """The program as an ONNX ``ModelProto`` with input ``images`` and output ``scores``.

    Raises:
        UserError: ONNX has no such operators.
    """
    try:
        with quiet():
            converted = torch.onnx.export(
                program, dynamo=True, optimize=True, input_names=["images"], output_names=["scores"], verbose=False
            )
            assert converted is not None
            proto = converted.model_proto
    except Exception as error:  # of PyTorch, onnxscript and onnx alike
        raise UserError(
            f"the model cannot be written as ONNX: {first_line(error)}",
            "write model.pt2 alone with onnx=false, or try newer packages: pip install -U torch onnxscript",
        ) from error
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # shapes inside, which every reader infers; they have another name for the batch
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")  # notes of the exporter about itself
    return proto


def scores_of_onnx(file: Path, views: Tensor) -> list[np.ndarray]:
    """Scores by the written ONNX file, for one view and for all."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [session.run(["scores"], {"images": batch.numpy()})[0] for batch in (views[:1], views)]
