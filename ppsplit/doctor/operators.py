"""A program's operators against Paddle Lite's list and our rules, as export will hand them over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Tuple

from ppsplit.doctor.finding import CAVEAT, FATAL, FINE, Finding
from ppsplit.doctor.lite_ops import LiteOps
from ppsplit.doctor.rules import RULES, WAY_OUT, WAYS_OUT
from ppsplit.export.lite_ready import make_lite_ready

SHOWN_PLACES = 3
QUANTIZERS = ("fake_", "quantize_linear", "dequantize_linear")


@dataclass(frozen=True)
class Place:
    """Where an operator stands.

    Attributes:
        tensor: what it writes.
        stage: the innermost stage that returns at it or behind it, "" where unknown.
        heads: the cuts of a bundle whose head has it; None where there are no heads, and all may go to the edge.
    """

    tensor: str
    stage: str
    heads: Optional[FrozenSet[str]]

    def __str__(self) -> str:
        parts = [f"stage {self.stage}"] if self.stage else []
        if self.heads is not None:
            parts.append(f"head of {' and '.join(sorted(self.heads))}" if self.heads else "tails only")
        return self.tensor + (f" ({', '.join(parts)})" if parts else "")


Problem = Tuple[str, str, str, str]  # kind, state, what, cure


def operator_findings(
    program: Any, ops: LiteOps, target: str, stages: Mapping[str, str], heads: Optional[Mapping[str, FrozenSet[str]]]
) -> List[Finding]:
    """A row for each kind of trouble, or one that says there is none.

    Args:
        program: a paddle Program; it is mended in place, as export mends what it gives to Paddle Lite.
        stages: a stage's name to the tensor it returns.
        heads: cut's name to the tensors its head computes; None for what is no bundle.
    """
    block = program.global_block()
    as_saved = [op.type for op in block.ops]
    mended = make_lite_ready(program)
    problems: Dict[Problem, List[Place]] = {}
    for place, op in zip(_places(block, stages, heads), block.ops):
        for problem in _problems(op, block, ops, target):
            problems.setdefault(problem, []).append(place)
    rows = [_row(problem, places) for problem, places in problems.items()]
    kinds = {kind for kind in as_saved if kind not in ("feed", "fetch")}
    total = sum(kind in kinds for kind in as_saved)
    about = f"{total} operators of {len(kinds)} kinds, Paddle Lite {ops.version} for {target}"
    fatal = sum(row.state == FATAL for row in rows)
    summary = Finding("operators", FATAL if fatal else FINE, about + (f"; trouble with {fatal} kinds" if fatal else ""))
    changes = Counter(f"{as_saved[index]}: {what}" for index, what in mended.items())
    mending = [Finding("mended at export", FINE, f"{what}, {times}x") for what, times in sorted(changes.items())]
    return [summary, *mending, *sorted(rows, key=lambda row: row.state != FATAL)]


def _problems(op: Any, block: Any, ops: LiteOps, target: str) -> Iterator[Problem]:
    kind = op.type
    if kind in ops.without_kernel and kind.startswith(QUANTIZERS):
        yield kind, CAVEAT, "Paddle Lite folds it into a quantized operator beside it, or fails", "see that it converts"
    elif kind not in ops.with_kernel:
        yield kind, FATAL, f"Paddle Lite has no such operator for {target}", WAYS_OUT.get(kind, WAY_OUT)
    for rule in RULES:
        if (not rule.kinds or kind in rule.kinds) and rule.applies(op, block):
            yield kind, rule.state, rule.what, rule.cure


def _row(problem: Problem, places: List[Place]) -> Finding:
    kind, state, what, cure = problem
    shown = "; ".join(str(place) for place in places[:SHOWN_PLACES])
    more = f" and {len(places) - SHOWN_PLACES} more" if len(places) > SHOWN_PLACES else ""
    if state == FATAL and all(place.heads is not None and not place.heads for place in places):
        state, what = CAVEAT, what + "; only tails have it, which run in Paddle unless --with-tail is given"
    return Finding(f"operator {kind}", state, f"{what}: {shown}{more}", cure)


def _places(block: Any, stages: Mapping[str, str], heads: Optional[Mapping[str, FrozenSet[str]]]) -> Iterator[Place]:
    """Where each operator stands, in order."""
    writer = {name: index for index, op in enumerate(block.ops) for name in op.output_arg_names}
    ends = sorted((writer[tensor], -stage.count("."), stage) for stage, tensor in stages.items() if tensor in writer)
    for index, op in enumerate(block.ops):
        names = op.output_arg_names
        stage = next((stage for end, _, stage in ends if end >= index), "")
        within = None if heads is None else frozenset(cut for cut, made in heads.items() if made.intersection(names))
        yield Place(names[0] if names else "", stage, within)
