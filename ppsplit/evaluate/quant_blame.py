"""Which layer the loss comes from: each layer's error, and what is won back when it alone is computed in fp32."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ppsplit.bundle import Bundle, Cut
from ppsplit.data.coco import CocoSet
from ppsplit.edge.head import Head
from ppsplit.evaluate.quant_accuracy import detections_of
from ppsplit.evaluate.quant_layers import Layer, QuantizedProgram, Rounding, layers_of
from ppsplit.evaluate.quant_programs import held_program
from ppsplit.evaluate.quant_subjects import Subject
from ppsplit.export.simulate import Simulation, output_error
from ppsplit.metrics.coco_ap import coco_box_ap
from ppsplit.runtime import Tensors

POINTS = 100  # AP is told in hundredths
Runs = List[List[np.ndarray]]  # for each image, the tensors fetched
Said = Callable[[str], None]


class Blame:
    """Measures the layers of one cut's quantized heads against its fp32 head.

    Args:
        reference: the fp32 head in Paddle.
        stages: structural name to tensor, as `quant_programs.stages_of` reads them.
        inputs: calibration images, float32 [1, 3, H, W] each.
        labelled: images with objects, for AP; None for none.

    Attributes:
        layers: of the fp32 head, in its order.
    """

    def __init__(
        self,
        reference: Subject,
        stages: Mapping[str, str],
        inputs: Sequence[np.ndarray],
        labelled: Optional[CocoSet] = None,
    ) -> None:
        self._stages, self._inputs, self._labelled = stages, inputs, labelled
        exact = held_program(reference, stages)
        self._exact = exact.program
        self.layers = layers_of(self._exact, stages)
        self._outputs = list(self._exact.fetch_names)
        self._fetches = list(dict.fromkeys([*self._outputs, *(layer.output for layer in self.layers)]))
        self._expected = self._run(QuantizedProgram(exact, self._exact).runner(self._fetches))

    def rows(self, subject: Subject, said: Said) -> List[Dict[str, Any]]:
        """One row for each layer of a quantized head in Paddle, in the network's order.

        Args:
            said: told what is being done.

        Returns:
            precision, layer, macs, weights, what `Rounding` has; sqnr_db, of the layer's output in the quantized
            program; error_recovered, by how much the head's relative squared error falls when this layer is put
            back, and error_recovered_share, the same divided by that error; blame_rank, 1 for the layer that recovers
            most; with labels ap_points_recovered, AP in hundredths.

        Raises:
            ProgramError: the program is not the fp32 one's quantized form.
        """
        precision = subject.program.precision
        program = QuantizedProgram(held_program(subject, self._stages), self._exact)
        said(f"{precision}: all layers")
        found = self._run(program.runner(self._fetches))
        error, ap = self._error(found), self._ap(subject, program, None)
        rows = []
        for position, (layer, rounding) in enumerate(zip(self.layers, program.roundings())):
            said(f"{precision}: without {layer.path}")
            won = error - self._error(self._run(program.runner(self._outputs, position)))
            row = {
                **_described(precision, layer, rounding),
                "sqnr_db": self._sqnr_db(found, layer.output),
                "error_recovered": won,
                "error_recovered_share": won / error if error else 0.0,
            }
            if ap is not None:
                put_back = self._ap(subject, program, position)
                row["ap_points_recovered"] = ((put_back or 0.0) - ap) * POINTS
            rows.append(row)
        ranks = np.argsort(np.argsort([-row["error_recovered"] for row in rows], kind="stable"))
        return [{**row, "blame_rank": int(rank) + 1} for row, rank in zip(rows, ranks)]

    def _run(self, simulation: Simulation) -> Runs:
        return [simulation.run(image) for image in self._inputs]

    def _error(self, found: Runs) -> float:
        """Of the head's outputs; more may have been fetched behind them."""
        count = len(self._outputs)
        return output_error([f[:count] for f in found], [e[:count] for e in self._expected])

    def _sqnr_db(self, found: Runs, name: str) -> float:
        place = self._fetches.index(name)
        return sqnr_db([f[place] for f in found], [e[place] for e in self._expected])

    def _ap(self, subject: Subject, program: QuantizedProgram, exact_layer: Optional[int]) -> Optional[float]:
        if self._labelled is None:
            return None
        head = _SimulatedHead(subject.bundle, subject.cut, program.runner(self._outputs, exact_layer), self._outputs)
        return coco_box_ap(self._labelled, detections_of(head, self._labelled))["ap"]


def sqnr_db(found: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """Signal-to-quantization-noise ratio in dB over all images; infinite where there is no noise.

    10 log10 (sum of exact^2 / sum of (found - exact)^2).
    """
    noise = sum(float(np.square(f.astype(np.float64) - e).sum()) for f, e in zip(found, exact))
    power = sum(float(np.square(e.astype(np.float64)).sum()) for e in exact)
    if not noise:
        return math.inf
    return 10 * math.log10(power / noise) if power else -math.inf


def runtime_errors(subjects: Sequence[Subject], inputs: Sequence[np.ndarray]) -> Dict[str, Dict[str, float]]:
    """What each head really gives in its runtime, against the first one.

    Args:
        subjects: the fp32 head in Paddle first.

    Returns:
        name to output_error (`simulate.output_error`) and output_sqnr_db, over all tensors that cross.
    """
    runs = {subject.name: _runs(subject, inputs) for subject in subjects}
    exact = runs[subjects[0].name]
    return {
        name: {
            "output_error": output_error(found, exact),
            "output_sqnr_db": sqnr_db([t for run in found for t in run], [t for run in exact for t in run]),
        }
        for name, found in runs.items()
    }


def _runs(subject: Subject, inputs: Sequence[np.ndarray]) -> Runs:
    head = subject.load()
    return [list(head.run([image]).values()) for image in inputs]


def _described(precision: str, layer: Layer, rounding: Rounding) -> Dict[str, Any]:
    return {
        "precision": precision,
        "layer": layer.path,
        "macs": layer.macs,
        "weights": layer.weights,
        **asdict(rounding),
    }


class _SimulatedHead(Head):
    """Takes the place of a head that a runtime has loaded."""

    def __init__(self, bundle: Bundle, cut: Cut, simulation: Simulation, outputs: Sequence[str]) -> None:
        self.bundle, self.cut, self._simulation, self._outputs = bundle, cut, simulation, outputs

    def run(self, inputs: Sequence[np.ndarray]) -> Tensors:
        batch = np.concatenate(inputs)
        made = dict(zip(self._outputs, self._simulation.run(batch)))
        made.setdefault(self.bundle.manifest.input.name, batch)  # where the picture itself crosses, too
        return {spec.name: made[spec.name] for spec in self.cut.tensors}
