"""The two halves of one cut in one process, in Paddle Inference, fp32: features, outputs, boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import numpy as np

from ppsplit.bundle import HEAD, TAIL, Bundle, Cut
from ppsplit.decode import CLASSIFY, build_decoder
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.image import Placement, fit, normalise, read_image
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

    def read(self, path: Path) -> Tuple[np.ndarray, Placement]:
        """A photo as large as the network's input, uint8 [H, W, 3], and where it lies in it. Raises ImageError."""
        return fit(read_image(path), self.bundle.manifest.preprocess)

    def features(self, pixels: np.ndarray) -> Tensors:
        """What crosses the cut for such a photo."""
        manifest = self.bundle.manifest
        feeds = {manifest.input.name: normalise(pixels, manifest.preprocess)}
        return owned(run_part(self._head, feeds, [spec.name for spec in self.cut.tensors]))

    def outputs(self, features: Tensors) -> Tensors:
        """The network's raw outputs for what crossed."""
        names = [spec.name for spec in self.bundle.manifest.outputs]
        return owned(run_part(self._tail, features, names))

    def detections(self, outputs: Tensors, placement: Placement) -> Detections:
        """Of a batch of one: as many as COCO counts, boxes in the photo's own pixels."""
        (found,) = self._decoder(outputs, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS)
        return placement.detections_to_original(found)


def owned(tensors: Tensors) -> Tensors:
    """Copies, which the program's next run does not overwrite."""
    return {name: array.copy() for name, array in tensors.items()}
