"""The cloud half by hand: a file of features, as the edge's --save-features writes it, to detections."""

from __future__ import annotations

from pathlib import Path

from ppsplit.bundle import Bundle
from ppsplit.cloud.engine import Engine
from ppsplit.cloud.programs import RUNTIME, EngineOptions
from ppsplit.cloud.result import Result
from ppsplit.codec import MAX_BATCH
from ppsplit.errors import WireError
from ppsplit.wire import FeatureMessage, unpack


def run_tail(bundle_path: Path, features_file: Path, threads: int = 1, runtime: str = RUNTIME) -> Result:
    """Detections (boxes in input pixels: the file does not say where the image lies in the input), or raw outputs.

    Raises:
        BundleError: no bundle there, or it has no tail for this runtime.
        WireError: the file cannot be read or is not a features frame.
        RefusedError: the features are of another bundle or cut.
        CodecError, InferenceRuntimeError: as `Engine.infer`.
    """
    options = EngineOptions(threads, MAX_BATCH, runtime=runtime)
    engine = Engine(Bundle.open(Path(bundle_path)), options)
    try:
        data = Path(features_file).read_bytes()
    except OSError as error:
        raise WireError(f"cannot read {features_file}: {error.strerror}; write one with --save-features") from error
    message = unpack(data)
    if not isinstance(message, FeatureMessage):
        raise WireError(f"{features_file} holds a tensors message; expected features")
    return engine.infer(message)
