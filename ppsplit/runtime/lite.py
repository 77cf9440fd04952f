"""Paddle Lite: a `.nb` program on the board's CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np

from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime import Runtime, Tensors, check_feeds


class LiteRuntime(Runtime):
    """A `.nb` file in Paddle Lite.

    Raises:
        InferenceRuntimeError: Paddle Lite is not installed.
    """

    def __init__(self, nb: Path, threads: int = 1) -> None:
        try:
            from paddlelite import lite
        except ImportError as error:
            raise InferenceRuntimeError(
                f"the lite runtime needs paddlelite ({error}); install its wheel or your own build, "
                "or use --runtime paddle"
            ) from error
        config = lite.MobileConfig()
        config.set_model_from_file(str(nb))
        if hasattr(config, "set_threads"):  # the x86 wheel's binding may lack it
            config.set_threads(threads)
        self._predictor = lite.create_paddle_predictor(config)
        self.input_names = list(self._predictor.get_input_names())
        self.output_names = list(self._predictor.get_output_names())

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        check_feeds(feeds, self.input_names)
        for index, name in enumerate(self.input_names):
            self._predictor.get_input(index).from_numpy(np.ascontiguousarray(feeds[name]))
        self._predictor.run()
        # .numpy() may view the predictor's own memory, which the next run overwrites
        return {name: self._predictor.get_output(i).numpy().copy() for i, name in enumerate(self.output_names)}
