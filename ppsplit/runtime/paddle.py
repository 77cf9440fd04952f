"""Paddle Inference on the CPU, with the options that serve."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional

import numpy as np

from ppsplit.errors import InferenceRuntimeError, WeightsError
from ppsplit.quant.packed import PackedLayer, read_packed
from ppsplit.runtime import Runtime, Tensors, check_feeds
from ppsplit.runtime.compute import BF16, GPU, PLAIN, Compute
from ppsplit.runtime.onednn import ONEDNN_OPERATORS
from ppsplit.runtime.pdiparams import encode_params
from ppsplit.runtime.threads import OneThread

GPU_MEMORY_MB = 256  # taken at first; Paddle takes more as it needs it
ONEDNN_NO_MEMORY = "could not create a memory object"

_STDERR_LOCK = threading.Lock()  # file descriptor 2 is the whole process's


class PaddleRuntime(Runtime):
    """A `.pdmodel` and its parameters in Paddle Inference with oneDNN and its graph optimisation.

    One thread runs it: the first that does.

    Args:
        params: `.pdiparams`; or packed weights, which are unpacked in memory.
        packed: which of the two `params` is.
        integers: let oneDNN compute in int8 what stands between `quantize_linear` and `dequantize_linear`; without
            it the same values come out of float32 kernels, more slowly than if nothing were quantized.
        compute: bfloat16 is oneDNN's; a GPU needs paddlepaddle-gpu.

    Raises:
        InferenceRuntimeError: Paddle is not installed, or cannot load the program; or it has no GPU.
    """

    def __init__(
        self,
        model: Path,
        params: Path,
        threads: int = 1,
        packed: bool = False,
        integers: bool = False,
        compute: Compute = PLAIN,
    ) -> None:
        try:
            from ppsplit.paddle_first import paddle
        except ImportError as error:
            raise InferenceRuntimeError(
                f"the paddle runtime needs paddlepaddle ({error}); install it, or use --runtime lite"
            ) from error
        if packed:
            config = _packed_config(paddle, model, params)
        else:
            config = paddle.inference.Config(str(model), str(params))
        config.disable_glog_info()
        if compute.device == GPU:
            check_gpu_here()
            config.enable_use_gpu(GPU_MEMORY_MB, 0)
        else:
            _use_cpu(config, threads, integers, compute.arithmetic == BF16)
        config.enable_memory_optim()
        talkative = integers or compute.arithmetic == BF16
        try:
            with _silent_stderr() if talkative else contextlib.nullcontext():
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
            if ONEDNN_NO_MEMORY in str(error):
                raise MemoryError(f"oneDNN {error}") from error  # as Paddle says it where it is its own memory
            raise InferenceRuntimeError(f"Paddle Inference refused the input: {error}") from error
        return {
            name: self._predictor.get_output_handle(handle).copy_to_cpu()
            for name, handle in zip(self.output_names, self._handles)
        }


def _use_cpu(config: Any, threads: int, integers: bool, bf16: bool) -> None:
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_mkldnn_op(set(ONEDNN_OPERATORS))
    if integers:
        config.enable_mkldnn_int8()
    if bf16:
        config.enable_mkldnn_bfloat16()
    config.set_cpu_math_library_num_threads(threads)


def check_gpu_here() -> None:
    """Raise InferenceRuntimeError where Paddle has no GPU to use."""
    from ppsplit.paddle_first import paddle

    if not paddle.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0:
        raise InferenceRuntimeError(
            "this Paddle has no GPU to use; install paddlepaddle-gpu with its CUDA and cuDNN, or use --device cpu"
        )


def _packed_config(paddle: Any, model: Path, params: Path) -> Any:
    """A program with weights handed over from memory, so that nothing unpacked is ever on the disk."""
    try:
        program = model.read_bytes()
        layers, fingerprint = read_packed(params)
    except (WeightsError, OSError) as error:
        raise InferenceRuntimeError(f"cannot load {model} with packed weights: {error}") from error
    if fingerprint != hashlib.sha256(program).hexdigest():
        raise InferenceRuntimeError(f"{params} belongs to another program than {model}; export both again")
    weights = encode_params(
        {n: layer.weights() if isinstance(layer, PackedLayer) else layer for n, layer in layers.items()}
    )
    config = paddle.inference.Config()
    config.set_model_buffer(program, len(program), weights, len(weights))
    return config


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without what Paddle's int8 and bfloat16 passes write to the process's error stream, whatever is asked of its log.

    One thread at a time: a second would keep the silence of the first for the stream, and leave it so.
    """
    stderr: Optional[int] = None
    with _STDERR_LOCK:
        try:
            sys.stderr.flush()
            stderr = os.dup(2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            if stderr is not None:
                os.dup2(stderr, 2)
                os.close(stderr)
