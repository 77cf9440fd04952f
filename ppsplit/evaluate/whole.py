"""The unsplit network on images: the reference that every split is measured against."""

from __future__ import annotations

import time
from typing import Dict, List, Optional, Tuple

import numpy as np

from ppsplit.bundle import FULL, Bundle
from ppsplit.decode import build_decoder
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.image import to_input
from ppsplit.runtime import load_program, run_part


class WholeModel:
    """The full program of a bundle in Paddle Inference. Not for use by two threads at once.

    Raises:
        ConfigError: the bundle's decode family gives no detections.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        manifest = bundle.manifest
        if manifest.decode.family == "raw":
            raise ConfigError(f"{bundle.root} has raw outputs: there is nothing to draw or to count")
        self.manifest = manifest
        self._runtime = load_program(bundle, bundle.program(bundle.cut(), FULL, "paddle"), threads)
        self._decoder = build_decoder(manifest.decode, manifest.preprocess.input_hw)

    def infer(
        self, image_rgb: np.ndarray, score_threshold: Optional[float] = None, max_detections: Optional[int] = None
    ) -> Tuple[Detections, Dict[str, float]]:
        """Detections in original pixels, and milliseconds of each stage.

        Args:
            image_rgb: uint8 [H, W, 3].
            score_threshold, max_detections: None for the bundle's own.
        """
        ticks: List[float] = [time.perf_counter()]
        tensor, placement = to_input(image_rgb, self.manifest.preprocess)
        ticks.append(time.perf_counter())
        names = [spec.name for spec in self.manifest.outputs]
        outputs = run_part(self._runtime, {self.manifest.input.name: tensor}, names)
        ticks.append(time.perf_counter())
        found = self._decoder(outputs, score_threshold=score_threshold, max_detections=max_detections)[0]
        found = found.with_boxes(placement.to_original(found.boxes_xyxy))
        ticks.append(time.perf_counter())
        stages = ("preprocess", "whole", "decode")
        return found, {name: (after - before) * 1e3 for name, before, after in zip(stages, ticks, ticks[1:])}
