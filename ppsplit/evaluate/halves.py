"""The two halves of one cut in one process, in Paddle Inference, fp32: features, outputs, boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

from ppsplit.bundle import HEAD, TAIL, Bundle, Cut
from ppsplit.decode import CLASSIFY, build_decoder
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.image import Placement, read_image, to_input
from ppsplit.runtime import Tensors, load_program, run_part

# COCO counts the 100 best detections of an image, however unsure.
SCORE_THRESHOLD, MAX_DETECTIONS = 0.001, 100


class Halves:
    """Head and tail of one cut, and the way from a photo in and to boxes out.

    Raises:
        ConfigError: the bundle's outputs are not decoded to boxes.
        BundleError, InferenceRuntimeError: a program is missing, or fails.
    """

    def __init__(self, bundle: Bundle, cut: Cut) -> None:
        manifest = bundle.manifest
        if manifest.decode.family in ("raw", CLASSIFY):
            raise ConfigError(f"{manifest.name} says no way from its outputs to boxes, so there is no AP")
        self.bundle, self.cut = bundle, cut
        self._head = load_program(bundle, bundle.program(cut, HEAD, "paddle", "fp32"))
        self._tail = load_program(bundle, bundle.program(cut, TAIL, "paddle"))
        self._decoder = build_decoder(manifest.decode, manifest.preprocess.input_hw)

    def features(self, path: Path) -> Tuple[Tensors, Placement]:
        """What crosses the cut for a photo, and where the photo lies in the network's input."""
        manifest = self.bundle.manifest
        pixels, placement = to_input(read_image(path), manifest.preprocess)
        crossing = run_part(self._head, {manifest.input.name: pixels}, [spec.name for spec in self.cut.tensors])
        return {name: array.copy() for name, array in crossing.items()}, placement

    def outputs(self, features: Tensors) -> Tensors:
        """The network's raw outputs for what crossed."""
        names = [spec.name for spec in self.bundle.manifest.outputs]
        return {name: array.copy() for name, array in run_part(self._tail, features, names).items()}

    def detections(self, outputs: Tensors, placement: Placement) -> Detections:
        """Of a batch of one: as many as COCO counts, boxes in the photo's own pixels."""
        (found,) = self._decoder(outputs, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS)
        return placement.detections_to_original(found)
