"""A frozen program as Paddle Lite's optimizer wants it; the program that is served stays as it is.

Paddle clips what its own kernels do not need when it saves a program: attributes with their default value, outputs
that only a gradient reads. Paddle Lite reads some of them and ends the process where one is missing. A few operators
it knows under another name only. All of this is mended in the copy that goes to the optimizer, by the tables below;
each row was seen to fail without it and to compute the same with it (tests/export/test_lite_ops.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ppsplit.errors import ProgramError
from ppsplit.export.program import static_mode
from ppsplit.paddle_first import paddle

# Operator to attributes that Paddle clips. Paddle says their value, the default one where the file has none.
CLIPPED_ATTRIBUTES: Dict[str, Tuple[str, ...]] = {"relu6": ("threshold",), "swish": ("beta",)}

# Operator to outputs that Paddle clips; nothing reads them.
CLIPPED_OUTPUTS: Dict[str, Tuple[str, ...]] = {
    "flatten_contiguous_range": ("XShape",),
    "instance_norm": ("SavedMean", "SavedVariance"),
}


@dataclass(frozen=True)
class Renamed:
    """What Paddle Lite calls an operator.

    Attributes:
        kind: the operator's other name.
        attributes: Paddle Lite's name of an attribute to Paddle's.
        constants: attributes that only the other operator has.
        needs: attributes with the only value for which the two are the same.
    """

    kind: str
    attributes: Dict[str, str]
    constants: Dict[str, Any]
    needs: Dict[str, Any]


RENAMED: Dict[str, Renamed] = {
    "bmm": Renamed("matmul_v2", {}, {"trans_x": False, "trans_y": False}, {}),
    "brelu": Renamed("clip", {"min": "t_min", "max": "t_max"}, {}, {}),
    "channel_shuffle": Renamed("shuffle_channel", {"group": "groups"}, {}, {"data_format": "NCHW"}),
}

# They broadcast, so that a scalar may as well be a vector of one.
BROADCASTING = (
    *("elementwise_add", "elementwise_div", "elementwise_max", "elementwise_min", "elementwise_mul"),
    *("elementwise_pow", "elementwise_sub", "equal", "greater_equal", "greater_than", "less_equal", "less_than"),
    "not_equal",
)


def read_program(model: Path) -> Any:
    """The paddle Program in a `.pdmodel` file, without parameters.

    Raises:
        ProgramError: the file is missing, or no program of Paddle 2.
    """
    try:
        data = Path(model).read_bytes()
    except OSError as error:
        raise ProgramError(f"{model} cannot be read ({error.strerror}); give a frozen program's .pdmodel") from error
    try:
        with static_mode():
            program = paddle.static.Program.parse_from_string(data)
            kinds = [op.type for op in program.global_block().ops]
    except Exception as error:  # Paddle raises many kinds here
        raise ProgramError(
            f"{model} is not a program this Paddle reads; save it with Paddle 2's paddle.jit.save or "
            "save_inference_model"
        ) from error
    if "feed" not in kinds:
        raise ProgramError(f"{model} has no input; save it with Paddle 2's paddle.jit.save or save_inference_model")
    return program


@static_mode()
def make_lite_ready(program: Any) -> Dict[int, str]:
    """Mend `program` in place for Paddle Lite; it computes the same.

    Returns:
        index of each operator that was changed, in the main block, to what was done.
    """
    block = program.global_block()
    done: Dict[int, str] = {}
    for index, op in enumerate(block.ops):
        changes = [*_rename(op), *_complete_attributes(op), *_complete_outputs(block, op)]
        if op.type == "fill_constant" and _is_broadcast_scalar(block, op):
            op.desc._set_attr("shape", [1])
            changes.append("a scalar became a vector of one")
        if changes:
            done[index] = "; ".join(changes)
    program.desc.flush()
    return done


def write_lite_ready(model: Path, scratch: Path) -> Path:
    """The file to give to Paddle Lite's optimizer: `model` itself, or a mended copy in the folder `scratch`.

    Raises:
        ProgramError: as `read_program`.
    """
    program = read_program(model)
    if not make_lite_ready(program):
        return model
    mended = scratch / model.name
    mended.write_bytes(program.desc.serialize_to_string())
    return mended


def _rename(op: Any) -> List[str]:
    other: Optional[Renamed] = RENAMED.get(op.type)
    if other is None or any(op.attr(name) != value for name, value in other.needs.items()):
        return []
    change = f"{op.type} became {other.kind}"
    values = {name: op.attr(theirs) for name, theirs in other.attributes.items()}
    op.desc.set_type(other.kind)
    for name, value in {**values, **other.constants}.items():
        op.desc._set_attr(name, value)
    return [change]


def _complete_attributes(op: Any) -> List[str]:
    values = {name: op.attr(name) for name in CLIPPED_ATTRIBUTES.get(op.type, ())}
    for name, value in values.items():
        op.desc._set_attr(name, value)
    return [f"attribute {name} {value:g} written out" for name, value in values.items()]


def _complete_outputs(block: Any, op: Any) -> List[str]:
    missing = [name for name in CLIPPED_OUTPUTS.get(op.type, ()) if not (name in op.output_names and op.output(name))]
    for name in missing:
        variable = f"{op.output_arg_names[0]}.{name}"
        block.create_var(name=variable, shape=[0], dtype="float32")
        op.desc.set_output(name, [variable])
    return [f"output {name} came back" for name in missing]


def _is_broadcast_scalar(block: Any, op: Any) -> bool:
    if list(op.attr("shape")) or op.input_arg_names:
        return False
    name = op.output_arg_names[0]
    readers = [reader.type for reader in block.ops if name in reader.input_arg_names]
    return bool(readers) and all(reader in BROADCASTING for reader in readers)
