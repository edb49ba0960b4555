"""A fitted network as an ONNX graph in onnxruntime, with the default session."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

__all__ = ["session"]

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
_OPSET, _IR = 17, 8  # old enough for any runtime of these years


def session(encoder: Layers, decoder: Layers | None = None) -> onnxruntime.InferenceSession:
    """x ↦ z; with a decoder, x ↦ ‖x − x̂‖² of each row. Layers are (W, b) with ReLU between them."""
    nodes, weights = [], []
    last = _dense(nodes, weights, "encoder", "x", encoder)
    if decoder is not None:
        back = _dense(nodes, weights, "decoder", last, decoder)
        nodes.append(helper.make_node("Sub", ["x", back], ["difference"]))
        nodes.append(helper.make_node("ReduceSumSquare", ["difference"], ["out"], axes=[1], keepdims=0))
        shape: list[str | int] = ["n"]
    else:
        nodes.append(helper.make_node("Identity", [last], ["out"]))
        shape = ["n", encoder[-1][0].shape[1]]
    graph = helper.make_graph(
        nodes,
        "autoencoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", encoder[0][0].shape[0]])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _dense(nodes: list, weights: list, name: str, last: str, layers: Layers) -> str:
    """Append the layers; the name of what they give."""
    for i, (w, b) in enumerate(layers):
        here = f"{name}{i}"
        weights += [
            numpy_helper.from_array(np.asarray(w), f"{here}.w"),
            numpy_helper.from_array(np.asarray(b), f"{here}.b"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"{here}.w", f"{here}.b"], [here]))
        last = here
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [here], [f"{here}.relu"]))
            last = f"{here}.relu"
    return last
