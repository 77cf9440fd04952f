"""X2Paddle in a process of its own: `python -m ppsplit.importers.x2paddle_child MODEL.onnx FOLDER`.

It prints, exits, changes the module path and turns Paddle's modes as it likes. Beside the program it leaves
`names.json`, the program's variable for each tensor of the model: seen in the frame of the `forward` that X2Paddle
generates, at its return while Paddle traces it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Dict

from ppsplit.paddle_first import paddle

PROGRAM = "inference_model/model"
NAMES = "names.json"
PREFIX = "x2paddle_"


def main(model: str, folder: str) -> None:
    """Convert; what cannot be converted ends the process with an error."""
    import onnx
    from x2paddle.decoder.onnx_decoder import ONNXDecoder
    from x2paddle.op_mapper.onnx2paddle.onnx_op_mapper import ONNXOpMapper
    from x2paddle.optimizer.optimizer import GraphOptimizer

    # the steps of x2paddle.convert.onnx2paddle without its report to its makers
    decoder = ONNXDecoder(model, enable_onnx_checker=False)
    graph = ONNXOpMapper(decoder).paddle_graph
    graph.build()
    GraphOptimizer(source_frame="onnx").optimize(graph)
    variables: Dict[str, str] = {}
    sys.setprofile(lambda frame, event, argument: _note(frame, event, variables))
    try:
        graph.gen_model(folder)
    finally:
        sys.setprofile(None)
    names = {output: found for output, found in _outputs(onnx.load(model), variables).items() if found}
    Path(folder, NAMES).write_text(json.dumps(names), encoding="utf-8")


def _note(frame: FrameType, event: str, variables: Dict[str, str]) -> None:
    if event != "return" or frame.f_code.co_name != "forward":
        return
    for name, value in frame.f_locals.items():
        if name.startswith(PREFIX) and isinstance(value, paddle.static.Variable):
            variables[name[len(PREFIX) :]] = value.name


def _outputs(proto: Any, variables: Dict[str, str]) -> Dict[str, str]:
    """Tensor to variable. X2Paddle calls the outputs of an operator with several after the first one."""
    found = {proto.graph.input[0].name: variables.get(proto.graph.input[0].name, "")}
    for node in proto.graph.node:
        for index, output in enumerate(node.output):
            several = variables.get(f"{node.output[0]}_p{index}", "")
            found[output] = variables.get(output) or several
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
