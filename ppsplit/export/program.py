"""Frozen Paddle programs: read, look into, take a part out, write.

Paddle's own `save_inference_model` adds a `scale` operator behind every output and decides by itself what to
keep. Here a part is exactly the operators that were asked for, and tensors keep their names.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Dict, Iterator, List, Sequence, Set, Tuple

import numpy as np

from ppsplit.bundle import TensorSpec
from ppsplit.errors import ProgramError
from ppsplit.export.graph import Graph, Operator
from ppsplit.export.macs import operator_macs
from ppsplit.paddle_first import paddle

MODEL_SUFFIX, PARAMS_SUFFIX = ".pdmodel", ".pdiparams"
# Paddle's quantizer reads op_role, so that stays.
TRACES = ("op_callstack", "op_device", "op_namescope", "op_role_var", "with_quant_attr")


@contextlib.contextmanager
def static_mode() -> Iterator[None]:
    """Paddle's static mode inside, whatever mode it was outside."""
    was_dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        yield
    finally:
        if was_dynamic:
            paddle.disable_static()


@dataclass
class FrozenProgram:
    """A program with its parameters in a scope of its own. Read it with `FrozenProgram.load`."""

    program: Any
    scope: Any
    feed_names: List[str]
    fetch_names: List[str]

    @classmethod
    def load(cls, prefix: Path) -> "FrozenProgram":
        """Read `<prefix>.pdmodel` and `<prefix>.pdiparams`.

        Raises:
            ProgramError: a file is missing, or not in the format of Paddle 2.
        """
        for suffix in (MODEL_SUFFIX, PARAMS_SUFFIX):
            if not Path(f"{prefix}{suffix}").is_file():
                raise ProgramError(
                    f"{prefix}{suffix} is missing; a frozen program is {MODEL_SUFFIX} and {PARAMS_SUFFIX}"
                )
        scope = paddle.static.Scope()
        with static_mode(), paddle.static.scope_guard(scope):
            executor = paddle.static.Executor(paddle.CPUPlace())
            try:
                program, feeds, fetches = paddle.static.load_inference_model(str(prefix), executor)
            except Exception as error:  # Paddle raises many kinds here, RuntimeError and its own among them
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise ProgramError(
                    f"{prefix}{MODEL_SUFFIX} is not a program this Paddle reads ({reason[0]}); "
                    "save it with Paddle 2's paddle.jit.save or save_inference_model"
                ) from error
        block = program.global_block()
        return cls(program, scope, list(feeds), [_before_identity_scale(block, fetch.name) for fetch in fetches])

    @static_mode()
    def save_part(self, prefix: Path, kept: Collection[int], feeds: Sequence[str], fetches: Sequence[str]) -> None:
        """Write the operators whose index is in `kept` as a program from `feeds` to `fetches`.

        Raises:
            ProgramError: an operator reads a tensor that is neither fed nor computed.
        """
        part = paddle.static.Program.parse_from_string(self.program.desc.serialize_to_string())
        block = part.global_block()
        for index in reversed(range(len(block.ops))):
            if index not in kept:
                block._remove_op(index)
        _drop_unused_variables(block, set(feeds) | set(fetches))
        _check_closed(block, feeds)
        for name in feeds:
            block.var(name).desc.set_need_check_feed(True)
        self._ensure_parameter(part)
        part.desc.flush()
        paddle.static.io.prepend_feed_ops(part, list(feeds))
        paddle.static.io.append_fetch_ops(part, list(fetches))
        part.desc._set_version()
        prefix.parent.mkdir(parents=True, exist_ok=True)
        bare = part._remove_training_info(clip_extra=True)
        _drop_traces(bare.global_block())
        data = paddle.static.io._serialize_program(bare, legacy_format=False)
        Path(f"{prefix}{MODEL_SUFFIX}").write_bytes(data)
        self._save_parameters(part, prefix)

    def _save_parameters(self, part: Any, prefix: Path) -> None:
        path = Path(f"{prefix}{PARAMS_SUFFIX}")
        with paddle.static.scope_guard(self.scope):
            paddle.static.io.save_vars(
                paddle.static.Executor(paddle.CPUPlace()),
                dirname=str(path.parent),
                main_program=part,
                predicate=paddle.static.io.is_persistable,
                filename=path.name,
            )

    def _ensure_parameter(self, part: Any) -> None:
        """Give a part without parameters an unused one: Paddle Inference refuses to load an empty file."""
        if any(paddle.static.io.is_persistable(v) for v in part.list_vars()):
            return
        name = "ppsplit_unused"
        part.global_block().create_var(name=name, shape=[1], dtype="float32", persistable=True)
        self.scope.var(name).get_tensor().set(np.zeros(1, np.float32), paddle.CPUPlace())

    @static_mode()
    def graph(self) -> Graph:
        """The program's activations as a `Graph`. Operator indices are those of the program's block.

        Raises:
            ProgramError: an activation is written twice, so "the value at the cut" would be ambiguous; or the
                program branches or loops.
        """
        block = self.program.global_block()
        constants = _constants(block)
        operators, written = [], set(self.feed_names)
        for index, op in enumerate(block.ops):
            if op.type in ("feed", "fetch"):
                continue
            if op.has_attr("sub_block"):
                raise ProgramError(
                    f"the program has control flow ({op.type}, operator {index}); save it without to cut it"
                )
            inputs = tuple(dict.fromkeys(n for n in op.input_arg_names if not _is_fixed(block, n, constants)))
            outputs = tuple(n for n in op.output_arg_names if not _is_fixed(block, n, constants))
            if not outputs:
                continue
            twice = written.intersection(outputs)
            if twice:
                raise ProgramError(
                    f"the program writes {sorted(twice)} twice ({op.type}, operator {index}); "
                    "save it again without in-place operators to cut it"
                )
            written.update(outputs)
            parameters = _parameters_of(op, block, constants)
            operators.append(Operator(index, op.type, inputs, outputs, frozenset(parameters), operator_macs(op, block)))
        alive = _ancestors(operators, self.fetch_names)
        names = [n for op in alive for n in op.outputs]
        return Graph(
            tuple(self.feed_names),
            tuple(self.fetch_names),
            tuple(alive),
            {name: tensor_spec(block, name) for name in [*self.feed_names, *names]},
            {name: int(np.prod(block.var(name).shape)) for op in alive for name in op.parameters},
        )

    def with_constants(self, kept: Collection[int]) -> Set[int]:
        """`kept` and the operators that compute, from parameters alone, what they read."""
        block = self.program.global_block()
        constants = _constants(block)
        writers = {n: i for i, op in enumerate(block.ops) for n in op.output_arg_names if n in constants}
        closed, waiting = set(kept), list(kept)
        while waiting:
            for name in block.ops[waiting.pop()].input_arg_names:
                writer = writers.get(name)
                if writer is not None and writer not in closed:
                    closed.add(writer)
                    waiting.append(writer)
        return closed


def _drop_traces(block: Any) -> None:
    """Remove what only training reads, and in whose folders on the disk an operator was made."""
    for op in block.ops:
        for name in TRACES:
            if op.desc.has_attr(name):
                op.desc.remove_attr(name)
    block.program.desc.flush()


def _before_identity_scale(block: Any, name: str) -> str:
    """The tensor behind the `scale` by one that Paddle puts in front of every output it saves."""
    for op in reversed(block.ops):
        if name in op.output_arg_names and op.type != "fetch":
            if op.type == "scale" and op.attr("scale") == 1.0 and op.attr("bias") == 0.0:
                return op.input("X")[0]
            break
    return name


def _ancestors(operators: Sequence[Operator], outputs: Sequence[str]) -> List[Operator]:
    """Those of `operators` that the outputs depend on, in order."""
    needed, alive = set(outputs), []
    for operator in reversed(operators):
        if needed.intersection(operator.outputs):
            alive.append(operator)
            needed.update(operator.inputs)
    return alive[::-1]


def tensor_spec(block: Any, name: str) -> TensorSpec:
    """Name, shape (-1 for the batch) and dtype of a variable."""
    variable = block.var(name)
    return TensorSpec(name, tuple(variable.shape), paddle.base.data_feeder.convert_dtype(variable.dtype))


def _is_persistable(block: Any, name: str) -> bool:
    return block.has_var(name) and block.var(name).persistable


def _is_fixed(block: Any, name: str, constants: Dict[str, Tuple[str, ...]]) -> bool:
    return name in constants or _is_persistable(block, name)


def _constants(block: Any) -> Dict[str, Tuple[str, ...]]:
    """Variables computed from parameters alone, with the parameters they come from."""
    sources: Dict[str, Tuple[str, ...]] = {}
    for op in block.ops:
        if op.type in ("feed", "fetch") or op.has_attr("sub_block"):
            continue
        names = op.input_arg_names
        if all(n in sources or _is_persistable(block, n) for n in names):
            origin = tuple(p for n in names for p in sources.get(n, (n,)))
            sources.update({n: origin for n in op.output_arg_names if not _is_persistable(block, n)})
    return sources


def _parameters_of(op: Any, block: Any, constants: Dict[str, Tuple[str, ...]]) -> Set[str]:
    found: Set[str] = set()
    for name in op.input_arg_names:
        if name in constants:
            found.update(constants[name])
        elif _is_persistable(block, name):
            found.add(name)
    return found


def _drop_unused_variables(block: Any, wanted: Set[str]) -> None:
    used = set(wanted)
    for op in block.ops:
        used.update(op.input_arg_names)
        used.update(op.output_arg_names)
    for name in list(block.vars):
        if name not in used:
            block._remove_var(name)


def _check_closed(block: Any, feeds: Sequence[str]) -> None:
    known = set(feeds)
    for op in block.ops:
        for name in op.input_arg_names:
            if name not in known and not _is_persistable(block, name):
                raise ProgramError(f"{op.type} reads {name!r}, which this part neither receives nor computes")
        known.update(op.output_arg_names)
