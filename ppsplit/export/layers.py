"""Layers by their structural path: "conv4" of the network as it is written, not "conv2d_27.w_0"."""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Mapping, Sequence, Tuple

from ppsplit.errors import ConfigError
from ppsplit.export.program import FrozenProgram
from ppsplit.export.ptq import weight_axes
from ppsplit.nearest import nearest
from ppsplit.quant.bitstream import PACKED_BITS

WIDEST = max(PACKED_BITS)
Rule = Tuple[str, int]


def parse_rules(texts: Sequence[str]) -> Tuple[Rule, ...]:
    """`conv4=4`, `conv*=6` as (pattern, bits), in order; several may stand in one text, with spaces between.

    Raises:
        ConfigError: not of that form, or a width that cannot be packed.
    """
    rules = []
    for word in " ".join(texts).split():
        pattern, equals, bits = word.rpartition("=")
        if not equals or not pattern or not bits.isdecimal() or int(bits) not in PACKED_BITS:
            raise ConfigError(
                f"--bits {word!r} is no rule; write LAYER=BITS with {min(PACKED_BITS)} to {WIDEST} bits, "
                "as in conv4=4,conv*=6"
            )
        rules.append((pattern, int(bits)))
    return tuple(rules)


def layer_paths(program: FrozenProgram, stages: Mapping[str, str]) -> Dict[str, str]:
    """Parameter name of each layer with weights to the innermost stage that it computes ("head32.conv").

    Args:
        stages: a stage's structural name to the tensor that it returns. A layer in none keeps its parameter's name.
    """
    innermost: Dict[str, str] = {}
    for stage, tensor in stages.items():
        if tensor not in innermost or stage.count(".") > innermost[tensor].count("."):
            innermost[tensor] = stage
    graph = program.graph()
    readers: Dict[str, List[str]] = {}
    for operator in graph.operators:
        for name in operator.inputs:
            readers.setdefault(name, []).extend(operator.outputs)
    weights, found = weight_axes(program), {}
    for operator in graph.operators:
        for parameter in operator.parameters & weights.keys():
            tensor = operator.outputs[0]
            while tensor not in innermost and len(readers.get(tensor, ())) == 1:
                tensor = readers[tensor][0]
            found[parameter] = innermost.get(tensor, parameter)
    return found


def chosen_bits(paths: Mapping[str, str], rules: Sequence[Rule]) -> Dict[str, int]:
    """Bits for each parameter: the first rule whose pattern fits the layer, or what it is a part of; else 8.

    Args:
        paths: as `layer_paths`.

    Raises:
        ConfigError: a rule fits no layer.
    """
    known = {parameter: (parameter, *_with_parents(path)) for parameter, path in paths.items()}
    for pattern, _ in rules:
        if not any(fnmatch.filter(names, pattern) for names in known.values()):
            tops = {names[1] for names in known.values()}
            raise ConfigError(
                f"--bits {pattern!r} fits no layer with weights in front of the cut{nearest(pattern, tops)}"
            )
    return {
        parameter: next((bits for pattern, bits in rules if fnmatch.filter(names, pattern)), WIDEST)
        for parameter, names in known.items()
    }


def _with_parents(path: str) -> List[str]:
    parts = path.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
