"""OpenVINO on the CPU. It reads Paddle's programs as they are, so a bundle needs no files of its own for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional

import numpy as np

from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime import Runtime, Tensors, check_feeds
from ppsplit.runtime.threads import OneThread


class OpenVinoRuntime(Runtime):
    """A `.pdmodel`, its `.pdiparams` beside it, in OpenVINO. One thread runs it: the first that does.

    It computes in float32: where a processor has bfloat16, OpenVINO would choose that by itself, and be off by more
    than any certificate allows.

    Raises:
        InferenceRuntimeError: OpenVINO is not installed, or cannot take the program.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        try:
            import openvino
        except ImportError as error:
            raise InferenceRuntimeError(
                f"the openvino runtime needs openvino ({error}); install it, or use another --runtime"
            ) from error
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": "NO",  # the halves of two clients would be pinned to the same core
        }
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(str(model)), "CPU", settings)
        except Exception as error:  # RuntimeError for most, and others
            raise InferenceRuntimeError(f"OpenVINO cannot take {model}: {_short(error)}") from error
        self._request = compiled.create_infer_request()
        # some versions answer what does not fit with an empty output
        self._fitting = {
            port.get_any_name(): (port.get_element_type().to_dtype(), _sizes(port)) for port in compiled.inputs
        }
        self.input_names = [port.get_any_name() for port in compiled.inputs]
        self.output_names = [port.get_any_name() for port in compiled.outputs]
        self._only = OneThread(model.name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        self._only.check()
        check_feeds(feeds, self.input_names)
        for name, array in feeds.items():
            self._check_fits(name, array)
        try:
            self._request.infer({name: np.ascontiguousarray(array) for name, array in feeds.items()})
            # .data views the request's own memory, which the next run overwrites
            found = [self._request.get_output_tensor(index).data.copy() for index in range(len(self.output_names))]
        except Exception as error:
            raise InferenceRuntimeError(f"OpenVINO refused the input: {_short(error)}") from error
        return dict(zip(self.output_names, found))

    def _check_fits(self, name: str, array: np.ndarray) -> None:
        dtype, sizes = self._fitting[name]
        fits = sizes is None or (
            len(sizes) == array.ndim and all(size in (-1, found) for size, found in zip(sizes, array.shape))
        )
        if array.dtype != dtype or not fits:
            raise InferenceRuntimeError(
                f"OpenVINO refused the input: {name!r} is {array.dtype} {list(array.shape)}, the program takes "
                f"{np.dtype(dtype)} {sizes} (-1 is any)"
            )


def _sizes(port: Any) -> Optional[List[int]]:
    """A port's shape, -1 for an open size; None where not even the rank is known."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return None
    return [-1 if size.is_dynamic else size.get_length() for size in shape]


def _short(error: Exception) -> str:
    """What it says without its own call stack, which fills a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join([line for line in lines if not line.startswith(("Exception from", "Check '"))] or lines)[:300]
