"""Paddle Inference on the CPU, with the options that serve."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np

from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime import Runtime, Tensors, check_feeds
from ppsplit.runtime.onednn import ONEDNN_OPERATORS
from ppsplit.runtime.threads import OneThread


class PaddleRuntime(Runtime):
    """A `.pdmodel` and `.pdiparams` in Paddle Inference with oneDNN and its graph optimisation.

    One thread runs it: the first that does.

    Raises:
        InferenceRuntimeError: Paddle is not installed, or cannot load the program.
    """

    def __init__(self, model: Path, params: Path, threads: int = 1) -> None:
        try:
            from ppsplit.paddle_first import paddle
        except ImportError as error:
            raise InferenceRuntimeError(
                f"the paddle runtime needs paddlepaddle ({error}); install it, or use --runtime lite"
            ) from error
        config = paddle.inference.Config(str(model), str(params))
        config.disable_gpu()
        config.disable_glog_info()
        config.enable_mkldnn()
        config.set_mkldnn_op(set(ONEDNN_OPERATORS))
        config.set_cpu_math_library_num_threads(threads)
        config.enable_memory_optim()
        try:
            self._predictor = paddle.inference.create_predictor(config)
        except (RuntimeError, ValueError) as error:
            raise InferenceRuntimeError(f"Paddle Inference cannot load {model}: {error}") from error
        self.input_names = list(self._predictor.get_input_names())
        self.output_names = list(self._predictor.get_output_names())
        self._handles = list(self.output_names)
        self._only = OneThread(model.name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        self._only.check()
        check_feeds(feeds, self.input_names)
        for name in self.input_names:
            self._predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(feeds[name]))
        try:
            self._predictor.run()
        except (RuntimeError, ValueError) as error:
            raise InferenceRuntimeError(f"Paddle Inference refused the input: {error}") from error
        return {
            name: self._predictor.get_output_handle(handle).copy_to_cpu()
            for name, handle in zip(self.output_names, self._handles)
        }
