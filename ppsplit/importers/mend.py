"""What Paddle Inference's optimisation computes wrongly in programs that X2Paddle makes, said otherwise.

`clip` can take its limits as tensors, which Paddle's own kernel reads. A pass of the optimisation with oneDNN fuses
it into the operator before (`elementwise_act_onednn_fuse_pass`, and its siblings for convolutions and matmuls) and
reads only the attributes, which are 0 and 0 then: everything behind becomes 0, and NaN where it is divided by.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np

from ppsplit.export.program import FrozenProgram, static_mode

LIMITS = {"Min": "min", "Max": "max"}


@static_mode()
def mend(program: FrozenProgram) -> int:
    """Make attributes of all limits of `clip` that are constants, in place.

    Returns:
        how many operators were changed.
    """
    block = program.program.global_block()
    constants = _filled(block)
    changed = 0
    for op in block.ops:
        if op.type != "clip":
            continue
        values = {name: _constant(program, block, constants, op, name) for name in LIMITS if _given(op, name)}
        if not values or any(value is None for value in values.values()):
            continue
        for name, value in values.items():
            op.desc._set_attr(LIMITS[name], float(value or 0.0))
            op.desc.set_input(name, [])
        changed += 1
    program.program.desc.flush()
    return changed


def _given(op: Any, name: str) -> bool:
    return name in op.input_names and bool(op.input(name))


def _filled(block: Any) -> Dict[str, float]:
    """Variables that one `fill_constant` makes, to their value."""
    made = [op for op in block.ops if op.type == "fill_constant" and not op.input_arg_names]
    return {op.output_arg_names[0]: _value(op) for op in made}


def _value(op: Any) -> float:
    text = op.attr("str_value") if op.has_attr("str_value") else ""
    return float(text) if text else float(op.attr("value"))


def _constant(program: FrozenProgram, block: Any, constants: Dict[str, float], op: Any, name: str) -> Optional[float]:
    variable = op.input(name)[0]
    if variable in constants:
        return constants[variable]
    if block.has_var(variable) and block.var(variable).persistable:
        values = np.array(program.scope.var(variable).get_tensor())
        return float(values.ravel()[0]) if values.size == 1 else None
    return None
