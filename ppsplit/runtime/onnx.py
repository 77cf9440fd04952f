"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np

from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime import Runtime, Tensors, check_feeds
from ppsplit.runtime.threads import OneThread

FATAL_ONLY = 4  # of its log; what it warns of is about the file's age


class OnnxRuntime(Runtime):
    """An `.onnx` file in ONNX Runtime. One thread runs it: the first that does.

    Raises:
        InferenceRuntimeError: ONNX Runtime is not installed, or cannot load the file.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InferenceRuntimeError(
                f"the onnx runtime needs onnxruntime ({error}); install it, or use another --runtime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its kinds have no common base
            raise InferenceRuntimeError(f"ONNX Runtime cannot load {model}: {error}") from error
        self.input_names = [tensor.name for tensor in self._session.get_inputs()]
        self.output_names = [tensor.name for tensor in self._session.get_outputs()]
        self._only = OneThread(model.name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        self._only.check()
        check_feeds(feeds, self.input_names)
        try:
            found = self._session.run(None, dict(feeds))
        except Exception as error:
            raise InferenceRuntimeError(f"ONNX Runtime refused the input: {error}") from error
        return dict(zip(self.output_names, found))
