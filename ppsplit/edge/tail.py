"""The rest of the network, where the edge computes it itself."""

from __future__ import annotations

import numpy as np

from ppsplit.bundle import Bundle, Cut
from ppsplit.decode import CLASSIFY, build_decoder
from ppsplit.edge.answer import RAW, Found
from ppsplit.edge.timing import StageTimes
from ppsplit.runtime import Runtime, Tensors, run_part
from ppsplit.wire import Options


class Tail:
    """Features of one cut to detections, classes or raw outputs. The first thread that runs it is the only one."""

    def __init__(self, bundle: Bundle, runtime: Runtime, options: Options) -> None:
        manifest = bundle.manifest
        self._runtime, self._options, self._family = runtime, options, manifest.decode.family
        self._outputs = [spec.name for spec in manifest.outputs]
        raw = self._family == RAW
        self._decoder = None if raw else build_decoder(manifest.decode, manifest.preprocess.input_hw)

    def run(self, features: Tensors, times: StageTimes) -> Found:
        """Finish a batch; adds to `times`. Raises InferenceRuntimeError."""
        with times.measure("tail"):
            outputs = run_part(self._runtime, features, self._outputs)
        with times.measure("decode"):
            if self._decoder is None:
                return Found(outputs=outputs)
            decoded = self._decoder(outputs, **self._options.to_map())
            return Found(classifications=decoded) if self._family == CLASSIFY else Found(decoded)


def no_features(cut: Cut) -> Tensors:
    """Zeros in the shape of one picture's features, to warm a tail up with."""
    return {spec.name: np.zeros([max(size, 1) for size in spec.shape], spec.dtype) for spec in cut.tensors}
