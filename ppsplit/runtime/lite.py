"""Paddle Lite: a `.nb` program on the board's CPU."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any, Mapping, Optional

import numpy as np

from ppsplit.errors import InferenceRuntimeError, WeightsError
from ppsplit.quant.packed import unpack_weights
from ppsplit.runtime import Runtime, Tensors, check_feeds, native_target
from ppsplit.runtime.nb import check_nb
from ppsplit.runtime.packed_nb import read_packed_nb
from ppsplit.runtime.specs import Specs, check_names, check_tensors
from ppsplit.runtime.threads import OneThread, check_power_mode

# Its binding ends the process on any other.
DTYPES = ("bool", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")


class LiteRuntime(Runtime):
    """A `.nb` file in Paddle Lite. One thread runs it: the first that does.

    Args:
        nb: the file; where `packed` is given, one whose weights are left out.
        packed: the weights, packed; they are unpacked in memory.
        threads: how many it may use. A build without this setting uses one; the x86 wheel is such a build.
        power_mode: which cores it may use, of `POWER_MODES`; None for Paddle Lite's own choice.
        specs: what the manifest says of the tensors; without it only names are checked.

    Attributes:
        threads: how many it does use.

    Raises:
        ConfigError: there is no such power mode.
        InferenceRuntimeError: Paddle Lite is not installed or has no power modes; or the file is damaged, for another
            target, by another version, or has tensors that the manifest does not know.
    """

    def __init__(
        self,
        nb: Path,
        threads: int = 1,
        power_mode: Optional[str] = None,
        specs: Optional[Specs] = None,
        packed: Optional[Path] = None,
    ) -> None:
        check_power_mode(power_mode)
        lite = _import_lite()
        data = None if packed is None else _unpacked(nb, packed)
        check_nb(nb, native_target(), installed_version(lite), data)
        config = lite.MobileConfig()
        if data is None:
            config.set_model_from_file(str(nb))
        else:
            config.set_model_from_buffer(data)
        self.threads = _set_threads(config, threads)
        _set_power_mode(lite, config, power_mode)
        self._predictor = lite.create_paddle_predictor(config)
        self._only = OneThread(nb.name)
        self._specs: Specs = specs or {}
        self.input_names = list(self._predictor.get_input_names())
        self.output_names = list(self._predictor.get_output_names())
        if specs is not None:
            check_names(f"{nb.name}'s input", self.input_names, specs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        self._only.check()
        check_feeds(feeds, self.input_names)
        check_tensors("the input", feeds, self._specs)
        for index, name in enumerate(self.input_names):
            if str(feeds[name].dtype) not in DTYPES:
                raise InferenceRuntimeError(f"Paddle Lite takes no {feeds[name].dtype} ({name!r}); give it float32")
            self._predictor.get_input(index).from_numpy(np.ascontiguousarray(feeds[name]))
        self._predictor.run()
        # .numpy() may view the predictor's own memory, which the next run overwrites
        outputs = {name: self._predictor.get_output(i).numpy().copy() for i, name in enumerate(self.output_names)}
        check_tensors("the output", outputs, self._specs)
        return outputs


def _unpacked(nb: Path, packed: Path) -> bytes:
    try:
        return read_packed_nb(nb, unpack_weights(packed))
    except WeightsError as error:
        raise InferenceRuntimeError(f"cannot load a program with packed weights: {error}") from error


def installed_version(lite: Any) -> str:
    """The version of this Paddle Lite, "" where it does not say; a build for boards may come without the optimizer."""
    if hasattr(lite, "Opt"):
        return str(lite.Opt().version())
    try:
        return str(metadata.version("paddlelite"))
    except metadata.PackageNotFoundError:
        return ""


def _import_lite() -> Any:
    try:
        from paddlelite import lite
    except ImportError as error:
        raise InferenceRuntimeError(
            f"the lite runtime needs paddlelite ({error}); install its wheel or your own build, or use --runtime paddle"
        ) from error
    return lite


def _set_threads(config: Any, threads: int) -> int:
    if not hasattr(config, "set_threads"):
        return 1  # measured: with the x86 wheel neither OMP_NUM_THREADS nor OpenMP's own call makes it more
    config.set_threads(threads)
    return threads


def _set_power_mode(lite: Any, config: Any, power_mode: Optional[str]) -> None:
    if power_mode is None:
        return
    if not hasattr(config, "set_power_mode"):
        raise InferenceRuntimeError(
            f"this Paddle Lite has no power modes (the x86 wheel has none), {power_mode!r} was asked for; "
            "leave --power-mode out"
        )
    config.set_power_mode(getattr(lite.PowerMode, "LITE_POWER_" + power_mode.upper().replace("-", "_")))
