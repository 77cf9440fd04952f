"""Cuts of graphs: examples drawn by hand, and every law against brute force on random graphs."""

from __future__ import annotations

import itertools
from typing import Dict, List, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.bundle import TensorSpec
from ppsplit.errors import CutError
from ppsplit.export.graph import (
    Graph,
    Operator,
    cut_after,
    distinct_cuts,
    edge_part,
    live_tensors,
    operators_for,
    resolve_cut,
    sent_tensors,
)


def build(operators: Sequence[Operator], outputs: Sequence[str]) -> Graph:
    names = ["image", *(name for op in operators for name in op.outputs)]
    tensors = {name: TensorSpec(name, (-1, 4), "float32") for name in names}
    parameters = {name: 10 for op in operators for name in op.parameters}
    return Graph(("image",), tuple(outputs), tuple(operators), tensors, parameters)


def conv(index: int, source: str, target: str, macs: int = 100) -> Operator:
    return Operator(index, "conv2d", (source,), (target,), frozenset({f"w{index}"}), macs)


def cheap(index: int, kind: str, sources: Sequence[str], target: str) -> Operator:
    return Operator(index, kind, tuple(sources), (target,))


@pytest.fixture
def skip_graph() -> Graph:
    """A backbone with a skip connection around a pool, joined again after an upsample; two outputs."""
    return build(
        [
            conv(0, "image", "a"),
            cheap(1, "pool2d", ["a"], "p"),
            conv(2, "p", "b"),
            cheap(3, "nearest_interp_v2", ["b"], "u"),
            cheap(4, "concat", ["u", "a"], "c"),
            conv(5, "c", "fine"),
            conv(6, "b", "coarse"),
        ],
        ["coarse", "fine"],
    )


def sent(graph: Graph, name: str, stages: Dict[str, str] = {}) -> List[str]:  # noqa: B006  never written
    return [spec.name for spec in resolve_cut(graph, name, stages).tensors]


def test_all_live_tensors_cross_skip_connections_included(skip_graph: Graph) -> None:
    assert sent(skip_graph, "b") == ["a", "b"]


def test_a_pool_of_a_sent_tensor_is_not_sent(skip_graph: Graph) -> None:
    assert live_tensors(skip_graph, edge_part(skip_graph, ["p"])) == ["a", "p"]
    assert sent(skip_graph, "p") == ["a"]


def test_an_upsample_of_a_sent_tensor_is_not_sent(skip_graph: Graph) -> None:
    assert sent(skip_graph, "u") == ["a", "b"]


def test_a_concat_of_sent_tensors_is_not_sent() -> None:
    graph = build(
        [conv(0, "image", "a"), conv(1, "a", "b"), cheap(2, "concat", ["a", "b"], "c"), conv(3, "c", "y")],
        ["a", "b", "y"],
    )
    assert sent(graph, "c") == ["a", "b"]


def test_a_tensor_nobody_reads_any_more_is_not_sent(skip_graph: Graph) -> None:
    assert sent(skip_graph, "c") == ["b", "c"]


def test_what_only_served_an_unsent_tensor_leaves_the_edge(skip_graph: Graph) -> None:
    assert [op.kind for op in resolve_cut(skip_graph, "p", {}).edge] == ["conv2d"]


def test_a_convolution_is_never_computed_twice(skip_graph: Graph) -> None:
    assert sent(skip_graph, "coarse") == ["a", "b", "coarse"]


@pytest.mark.parametrize("kind", ["gaussian_random", "rnn", "somebodys_own_operator"])
def test_what_is_not_known_to_be_cheap_is_never_computed_twice(kind: str) -> None:
    noise = Operator(1, kind, ("a",), ("n",))
    graph = build([conv(0, "image", "a"), noise, cheap(2, "concat", ["a", "n"], "y")], ["y", "a"])
    assert sent(graph, "n") == ["a", "n"]


def test_input_and_output_are_cuts(skip_graph: Graph) -> None:
    whole = resolve_cut(skip_graph, "output", {})
    assert [spec.name for spec in whole.tensors] == ["fine", "coarse"]
    assert (whole.edge_macs_share, whole.edge_params_share, whole.cloud) == (1.0, 1.0, ())
    nothing = resolve_cut(skip_graph, "input", {})
    assert (nothing.name, nothing.edge, nothing.edge_macs_share) == ("input", (), 0.0)


def test_an_image_read_late_crosses_with_the_rest() -> None:
    graph = build([conv(0, "image", "a"), cheap(1, "concat", ["a", "image"], "y")], ["y"])
    assert sent(graph, "a") == ["image", "a"]


def test_shares_are_of_macs_and_of_parameters(skip_graph: Graph) -> None:
    cut = resolve_cut(skip_graph, "b", {})
    assert (cut.edge_macs_share, cut.edge_params_share) == (0.5, 0.5)


def test_stages_name_cuts_and_other_names_are_aliases(skip_graph: Graph) -> None:
    stages = {"stem": "a", "down": "p", "deep": "b"}
    assert resolve_cut(skip_graph, "down", stages).name == "stem"
    assert "down" in resolve_cut(skip_graph, "stem", stages).aliases
    assert resolve_cut(skip_graph, "a+b", stages).name == "deep"


def test_a_plus_in_a_tensors_name_does_no_harm() -> None:
    graph = build([conv(0, "image", "a+b"), conv(1, "a+b", "c"), cheap(2, "concat", ["a+b", "c"], "y")], ["y"])
    assert sent(graph, "a+b") == ["a+b"]
    assert sent(graph, "a+b+c") == ["a+b", "c"]
    assert all(resolve_cut(graph, cut.name, {}) == cut for cut in distinct_cuts(graph, {}))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    graph = build([conv(0, "image", "features")], ["features"])
    with pytest.raises(CutError, match="did you mean features"):
        resolve_cut(graph, "feature", {})


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    operators: List[Operator] = []
    names = ["image"]
    for index in range(draw(st.integers(1, 8))):
        sources = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        heavy = draw(st.booleans())
        kind = "conv2d" if heavy else "relu"
        operators.append(Operator(index, kind, tuple(sources), (f"t{index}",)))
        names.append(f"t{index}")
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=3, unique=True))
    needed = {op.index for op in edge_part(build(operators, outputs), outputs)}
    return build([op for op in operators if op.index in needed], outputs)


def cheap_closure(graph: Graph, known: Sequence[str]) -> set:
    held = set(known)
    for op in graph.operators:
        if op.is_cheap and held.issuperset(op.inputs):
            held.update(op.outputs)
    return held


@settings(max_examples=150, deadline=None)
@given(graphs(), st.data())
def test_sent_is_the_smallest_subset_of_live_from_which_live_follows(graph: Graph, data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from([name for op in graph.operators for name in op.outputs]))
    edge = edge_part(graph, [chosen])
    live = live_tensors(graph, edge)
    smallest = next(
        set(subset)
        for size in range(len(live) + 1)
        for subset in itertools.combinations(live, size)
        if set(live) <= cheap_closure(graph, subset)
    )
    assert set(sent_tensors(graph, edge)) == smallest


@settings(max_examples=150, deadline=None)
@given(graphs(), st.data())
def test_halves_are_complete(graph: Graph, data: st.DataObject) -> None:
    cut = cut_after(graph, [data.draw(st.sampled_from([op.outputs[0] for op in graph.operators]))], {})
    crossing = {spec.name for spec in cut.tensors}
    known = set(graph.inputs)
    for op in cut.edge:  # closed under predecessors
        assert known.issuperset(op.inputs)
        known.update(op.outputs)
    assert crossing <= known
    known = set(crossing)
    for op in cut.cloud:
        assert known.issuperset(op.inputs)
        known.update(op.outputs)
    assert set(graph.outputs) <= known
    assert all(op.is_cheap for op in cut.cloud if op in cut.edge)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_every_operator_belongs_to_a_listed_cut(graph: Graph) -> None:
    cuts = distinct_cuts(graph, {})
    listed = [tuple(spec.name for spec in cut.tensors) for cut in cuts]
    assert len(listed) == len(set(listed))
    for op in graph.operators:
        crossing = tuple(sent_tensors(graph, edge_part(graph, op.outputs)))
        assert crossing in listed or crossing == graph.inputs


def test_an_incomplete_set_is_refused(skip_graph: Graph) -> None:
    with pytest.raises(CutError, match="'image' cannot be computed from"):
        operators_for(skip_graph, skip_graph.outputs, ["b"])
