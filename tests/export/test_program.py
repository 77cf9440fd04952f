"""Frozen programs: reading, cutting at every place, and refusing what cannot be cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.errors import ProgramError
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.graph import distinct_cuts
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.paddle_first import paddle
from ppsplit.runtime import Runtime, run_part
from ppsplit.runtime.paddle import PaddleRuntime


def load(prefix: Path) -> Runtime:
    return PaddleRuntime(Path(f"{prefix}.pdmodel"), Path(f"{prefix}.pdiparams"))


def save(program: FrozenProgram, operators: Any, feeds: List[str], fetches: List[str], prefix: Path) -> Runtime:
    program.save_part(prefix, program.with_constants([op.index for op in operators]), feeds, fetches)
    return load(prefix)


def test_the_graph_has_no_identity_scale_and_no_bias_reshape(skip_model: FrozenModel) -> None:
    graph = skip_model.program.graph()
    assert graph.inputs == ("image",)
    assert {op.kind for op in graph.operators} == {
        *("conv2d", "elementwise_add", "leaky_relu", "pool2d", "nearest_interp_v2", "concat")
    }
    assert graph.tensors[graph.outputs[0]].shape == (-1, 4, 16, 24)


def test_macs_and_parameters_are_the_closed_form(skip_model: FrozenModel) -> None:
    graph = skip_model.program.graph()
    pixels = 32 * 48
    assert graph.macs == pixels * 8 * 3 * 9 + pixels // 4 * (8 * 8 * 9 + 4 * 8) + pixels * 6 * 16
    assert sum(graph.parameter_elements.values()) == 8 * 28 + 8 * 73 + 6 * 17 + 4 * 9


def test_every_cut_gives_the_whole_again_at_any_batch(skip_model: FrozenModel, tmp_path: Path) -> None:
    program, graph = skip_model.program, skip_model.program.graph()
    whole = save(program, graph.operators, ["image"], list(graph.outputs), tmp_path / "whole")
    image = np.random.default_rng(0).random((3, 3, 32, 48), np.float32)
    expected = whole.run({"image": image})
    cuts = distinct_cuts(graph, skip_model.stages)
    assert len(cuts) >= 10
    for index, cut in enumerate(cuts):
        sent = [spec.name for spec in cut.tensors]
        head = save(program, cut.edge, ["image"], sent, tmp_path / f"head{index}")
        features = head.run({"image": image})
        rest = [name for name in graph.outputs if name not in sent]
        outputs = features
        if rest:
            read = {name for op in cut.cloud for name in op.inputs}
            tail = save(program, cut.cloud, [n for n in sent if n in read], rest, tmp_path / f"tail{index}")
            outputs = run_part(tail, features, graph.outputs)
        for name in graph.outputs:
            np.testing.assert_allclose(outputs[name], expected[name], rtol=0, atol=1e-5, err_msg=cut.name)


def test_a_part_without_parameters_loads_and_runs(skip_model: FrozenModel, tmp_path: Path) -> None:
    graph = skip_model.program.graph()
    pool = next(op for op in graph.operators if op.kind == "pool2d")
    runtime = save(skip_model.program, [pool], list(pool.inputs), list(pool.outputs), tmp_path / "pool")
    features = np.random.default_rng(1).random((1, 8, 32, 48), np.float32)
    pooled = runtime.run({pool.inputs[0]: features})[pool.outputs[0]]
    np.testing.assert_array_equal(pooled, features.reshape(1, 8, 16, 2, 24, 2).max((3, 5)))


def test_a_part_that_reads_what_nobody_gives_is_refused(skip_model: FrozenModel, tmp_path: Path) -> None:
    graph = skip_model.program.graph()
    with pytest.raises(ProgramError, match="neither receives nor computes"):
        skip_model.program.save_part(tmp_path / "part", [graph.operators[-1].index], ["image"], graph.outputs)


def test_a_tensor_written_twice_is_refused(tmp_path: Path) -> None:
    program = paddle.static.Program()
    with static_mode(), paddle.static.program_guard(program):
        image = paddle.static.data("image", [-1, 3, 4, 4], "float32")
        paddle.assign(image * 2, output := paddle.abs(image))
        frozen = FrozenProgram(program, paddle.static.Scope(), ["image"], [output.name])
    with pytest.raises(ProgramError, match="twice"):
        frozen.graph()


def test_missing_and_damaged_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="model.pdmodel is missing"):
        FrozenProgram.load(tmp_path / "model")
    for suffix in (".pdmodel", ".pdiparams"):
        (tmp_path / f"model{suffix}").write_bytes(b"no program")
    with pytest.raises(ProgramError, match="not a program this Paddle reads"):
        FrozenProgram.load(tmp_path / "model")
