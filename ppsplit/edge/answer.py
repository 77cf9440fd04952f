"""What pictures gave, and how it is read out of the cloud's answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Manifest
from ppsplit.classification import Classification
from ppsplit.codec import EncodedTensor, FeatureCodec
from ppsplit.decode import CLASSIFY
from ppsplit.detections import Detections
from ppsplit.edge.exchange import UNREADABLE, Reply
from ppsplit.edge.timing import SERVER_STAGES, StageTimes
from ppsplit.errors import CodecError, LinkError, WireError
from ppsplit.image import Placement
from ppsplit.runtime import Tensors
from ppsplit.wire import TENSORS_TYPE, TensorMessage, unpack

CLOUD, EDGE, STALE = "cloud", "edge", "stale"
RAW = "raw"


@dataclass(frozen=True)
class EdgeResult:
    """What one picture gave.

    Attributes:
        image_hw: of the original, in pixels.
        detections: boxes in original pixels; None where the bundle's decode family is "raw" or "classify".
        outputs: raw outputs, batch of one, where the family is "raw"; else None.
        times_ms: by stage (`timing.STAGES`); network is the round trip less the server's own stages. Of a batch,
            each picture's even share, as for the bytes.
        payload_bytes: of the HTTP body sent.
        received_bytes: of the body that came back.
        classification: the likeliest classes where the family is "classify"; else None.
        origin: "cloud", "edge" (the tail ran here), or "stale": an earlier picture's, or nothing at all.
        degraded_reason: why the cloud did not do it, in one word; None where it did, or was not asked.
    """

    image_hw: Tuple[int, int]
    detections: Optional[Detections]
    outputs: Optional[Tensors]
    times_ms: Dict[str, float]
    payload_bytes: int
    received_bytes: int
    classification: Optional[Classification] = None
    origin: str = CLOUD
    degraded_reason: Optional[str] = None


@dataclass
class Found:
    """Of a whole batch: detections in input pixels, classes, or raw outputs."""

    detections: Optional[List[Detections]] = None
    outputs: Optional[Tensors] = None
    classifications: Optional[List[Classification]] = None


def understand(reply: Reply, manifest: Manifest, count: int, times: StageTimes) -> Found:
    """Read the answer and count the server's stages; the rest of the round trip is the network's.

    Raises:
        LinkError: it is not an answer of this protocol, or not for these pictures.
    """
    try:
        is_frame = reply.content_type == TENSORS_TYPE
        found, fingerprint, server_ms = _read_frame(reply, manifest) if is_frame else _read_json(reply, manifest)
        stages = {stage: float(server_ms[stage]) for stage in SERVER_STAGES if stage in server_ms}
        _check_finite(found, stages)
        _check_masks(found, manifest.preprocess.input_hw)
        decoded = found.detections if found.classifications is None else found.classifications
        batch = len(decoded) if decoded is not None else count
    except (WireError, CodecError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise LinkError(
            f"the server's answer cannot be read ({error!r:.200}); is it a ppsplit server?", UNREADABLE
        ) from error
    if fingerprint != manifest.fingerprint or batch != count:
        raise LinkError(
            f"the server answered for bundle {str(fingerprint)[:12]!r} and {batch} images, not what was asked",
            UNREADABLE,
        )
    for stage, duration_ms in stages.items():
        times.add(stage, duration_ms)
    times.add("network", max(0.0, reply.round_trip_ms - sum(stages.values())))
    return found


def _read_json(reply: Reply, manifest: Manifest) -> Tuple[Found, Any, Dict[str, Any]]:
    values = json.loads(reply.body)
    if manifest.decode.family == CLASSIFY:
        classes = [Classification.from_records(records) for records in values["classifications"]]
        return Found(classifications=classes), values["bundle"], dict(values["times_ms"])
    detections = [Detections.from_records(records) for records in values["detections"]]
    return Found(detections), values["bundle"], dict(values["times_ms"])


def _read_frame(reply: Reply, manifest: Manifest) -> Tuple[Found, Any, Dict[str, Any]]:
    message = unpack(reply.body)
    if not isinstance(message, TensorMessage):
        raise WireError("a features message, expected tensors")
    codec = FeatureCodec(manifest.outputs, message.encoding, {})
    outputs = codec.decode([EncodedTensor(*tensor) for tensor in message.tensors])
    return Found(outputs=outputs), message.bundle, dict(message.times_ms)


def _check_finite(found: Found, stages: Dict[str, float]) -> None:
    """Raise ValueError for a number that no box, score or duration can be."""
    boxes = [d.boxes_xyxy for d in found.detections or ()]
    scores = [d.scores for d in (*(found.detections or ()), *(found.classifications or ()))]
    if not all(np.isfinite(array).all() for array in (*boxes, *scores)):
        raise ValueError("a box or score is not finite")
    if not all(0 <= duration_ms < math.inf for duration_ms in stages.values()):
        raise ValueError(f"impossible durations {stages}")


def _check_masks(found: Found, input_hw: Tuple[int, int]) -> None:
    """Raise ValueError for masks of another size than the input's: a few bytes of text may say any size."""
    sizes = {mask.hw for objects in found.detections or () for mask in objects.masks or ()}
    if sizes - {tuple(input_hw)}:
        raise ValueError(f"masks of {sorted(sizes)[:4]}, the input is {tuple(input_hw)}")


def results_of(
    found: Found,
    placements: Sequence[Placement],
    times: StageTimes,
    sent_bytes: int,
    received_bytes: int,
    origin: str = CLOUD,
    reason: Optional[str] = None,
) -> List[EdgeResult]:
    """One result for each picture, boxes back in its own pixels."""
    count = len(placements)
    results = []
    for index, placement in enumerate(placements):
        detections = None
        if found.detections is not None:
            detections = placement.detections_to_original(found.detections[index])
        outputs = None
        if found.outputs is not None:
            outputs = {name: tensor[index : index + 1] for name, tensor in found.outputs.items()}
        shares = (round(sent_bytes / count), round(received_bytes / count))
        classes = found.classifications[index] if found.classifications is not None else None
        taken_ms = times.per_image(count)
        result = EdgeResult(placement.original_hw, detections, outputs, taken_ms, *shares, classes, origin, reason)
        results.append(result)
    return results
