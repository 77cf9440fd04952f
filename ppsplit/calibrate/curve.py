"""Bytes against divergence, and AP where there are labels: the learned codec's curve, off its real encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from ppsplit.bundle import HEAD, TAIL, Bundle, CurvePoint, Cut
from ppsplit.codec.learned import LearnedCodec
from ppsplit.codec.tables import BEST, WORST, FeatureTables
from ppsplit.data.coco import CocoSet
from ppsplit.decode import build_decoder
from ppsplit.decode.scores import class_scores, knows_scores
from ppsplit.detections import Detections
from ppsplit.image import Placement
from ppsplit.metrics.coco_ap import coco_box_ap
from ppsplit.metrics.score_kl import SEEN, score_kl
from ppsplit.runtime import load_program, run_part

# COCO counts the 100 best detections of an image, however unsure.
SCORE_THRESHOLD, MAX_DETECTIONS = 0.001, 100
DRAWS, CONFIDENCE = 2_000, 0.9


@dataclass(frozen=True)
class Judged:
    """Photos that a curve is measured on.

    Attributes:
        inputs: of the network, float32 [1, 3, H, W] each.
        coco_set: their labels, None where there are none.
        placements: of each photo in its input, where there are labels.
    """

    inputs: Sequence[np.ndarray]
    coco_set: Optional[CocoSet] = None
    placements: Sequence[Placement] = ()


@dataclass(frozen=True)
class Measured:
    """A point of the curve.

    Attributes:
        point: means over the photos.
        upper_kl: what the mean divergence may be on other photos, with more to be seen on them: `upper_mean` of the
            half of the photos on which the network sees most. None where divergence is not known.
    """

    point: CurvePoint
    upper_kl: Optional[float]


class Judge:
    """Features coded and decoded, the cloud half behind, against the same without a codec."""

    def __init__(self, bundle: Bundle, cut: Cut, judged: Judged) -> None:
        manifest = self._manifest = bundle.manifest
        self._cut, self._judged = cut, judged
        self._tail = load_program(bundle, bundle.program(cut, TAIL, "paddle"))
        head = load_program(bundle, bundle.program(cut, HEAD, "paddle", "fp32"))
        names = [spec.name for spec in cut.tensors]
        self._features = [run_part(head, {manifest.input.name: values}, names) for values in judged.inputs]
        self._truth = [self._outputs(features) for features in self._features]
        self._scored = knows_scores(manifest.decode)
        self._busier = busier_half([self._seen(outputs) for outputs in self._truth]) if self._scored else []
        self._decoder = (
            build_decoder(manifest.decode, manifest.preprocess.input_hw) if judged.coco_set is not None else None
        )

    def _outputs(self, features: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return dict(run_part(self._tail, features, [spec.name for spec in self._manifest.outputs]))

    def _seen(self, outputs: Mapping[str, np.ndarray]) -> float:
        """How much there is to be seen on a photo: the sum of what counts for the divergence."""
        best = class_scores(outputs, self._manifest.decode)[0].max(axis=1, initial=0.0)
        return float(best[best > SEEN].sum())

    def point(self, tables: FeatureTables, quality: int) -> Measured:
        """What a quality costs and keeps on these photos. Raises CodecError, InferenceRuntimeError."""
        codec = LearnedCodec(self._cut.tensors, tables, quality)
        sizes, divergences, all_outputs = [], [], []
        for features, truth in zip(self._features, self._truth):
            encoded = codec.encode(features)
            sizes.append(sum(len(tensor.data) for tensor in encoded))
            outputs = self._outputs(codec.decode(encoded))
            all_outputs.append(outputs)
            if self._scored:
                scores = [class_scores(found, self._manifest.decode)[0] for found in (truth, outputs)]
                divergences.append(score_kl(*scores))
        kl = round(float(np.mean(divergences)), 4) if divergences else None
        point = CurvePoint(quality, round(float(np.mean(sizes)), 1), kl, self._ap(all_outputs))
        return Measured(point, upper_mean([divergences[index] for index in self._busier]) if divergences else None)

    def ap_unsplit(self) -> Optional[float]:
        """AP of what nothing was rounded of; None without labels."""
        return self._ap(self._truth)

    def _ap(self, all_outputs: Sequence[Mapping[str, np.ndarray]]) -> Optional[float]:
        if self._decoder is None or self._judged.coco_set is None:
            return None
        found: Dict[int, Detections] = {}
        for image, outputs, placement in zip(self._judged.coco_set.images, all_outputs, self._judged.placements):
            (detections,) = self._decoder(outputs, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS)
            found[image.image_id] = detections.with_boxes(placement.to_original(detections.boxes_xyxy))
        return round(coco_box_ap(self._judged.coco_set, found)["ap"], 4)


def busier_half(amounts: Sequence[float]) -> List[int]:
    """Which of the photos have most on them; at least one."""
    order = np.argsort(-np.asarray(amounts), kind="stable")
    return sorted(int(index) for index in order[: -(-len(amounts) // 2)])


def upper_mean(values: Sequence[float]) -> float:
    """What the mean over as many other photos will hardly exceed: CONFIDENCE of the bootstrap's draws stay below.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    drawn = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    return float(np.quantile(np.asarray(values, np.float64)[drawn].mean(axis=1), CONFIDENCE))


def chosen_quality(judge: Judge, tables: FeatureTables, found: List[Measured], target_kl: float) -> int:
    """The least quality whose divergence is, by `upper_mean`, at most `target_kl`; what is measured joins `found`.

    The best quality where none is good enough.
    """
    low, high = WORST - 1, BEST  # low is too little, high is enough or the end
    for measured in found:
        quality = measured.point.quality
        if measured.upper_kl is not None and measured.upper_kl <= target_kl:
            high = min(high, quality)
        elif quality < high:
            low = max(low, quality)
    while high - low > 1:
        middle = (low + high) // 2
        measured = judge.point(tables, middle)
        found.append(measured)
        if measured.upper_kl is not None and measured.upper_kl <= target_kl:
            high = middle
        else:
            low = middle
    return high
