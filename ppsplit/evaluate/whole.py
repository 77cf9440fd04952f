"""The unsplit network on pictures: the reference that every split is measured against."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np

from ppsplit.bundle import FULL, Bundle
from ppsplit.data.sample_photos import sample_photos
from ppsplit.edge.client import LocalClient
from ppsplit.edge.head import Head
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.runtime import Passthrough, Tensors, run_part
from ppsplit.runtime.choice import load_part
from ppsplit.wire import Options


class WholeNetwork(Head):
    """Takes the place of a client's head, computes everything, and leaves its tail nothing to do."""

    def __init__(self, bundle: Bundle, threads: int = 1, runtime: str = "paddle") -> None:
        self.bundle, self.cut = bundle, bundle.cut()
        self._runtime = load_part(bundle, self.cut, FULL, runtime, threads=threads)

    def run(self, inputs: Sequence[np.ndarray]) -> Tensors:
        feeds = {self.bundle.manifest.input.name: np.concatenate(inputs)}
        return run_part(self._runtime, feeds, [spec.name for spec in self.bundle.manifest.outputs])


def whole_client(bundle: Bundle, options: Options, threads: int = 1, runtime: str = "paddle") -> LocalClient:
    """A client that runs the full program of `bundle`. Raises as `runtime.choice.load_part`."""
    return LocalClient(WholeNetwork(bundle, threads, runtime), Passthrough(), options)


@contextlib.contextmanager
def unsplit_bundle(frozen: FrozenModel, lite_target: str = "") -> Iterator[Bundle]:
    """A frozen model as a bundle whose only cut lies behind its last operator, gone at the end.

    Args:
        lite_target: also convert it for this Paddle Lite target.

    Raises:
        ConversionError: Paddle Lite cannot take it.
    """
    photos = tuple(sample_photos()[:1])
    plan = SplitPlan(("output",), (), (lite_target,) if lite_target else (), False, photos, photos)
    with tempfile.TemporaryDirectory() as scratch:
        yield export_bundle(frozen, plan, Path(scratch) / frozen.name, lambda step: None)
