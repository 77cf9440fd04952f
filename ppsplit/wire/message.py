"""The two messages: features on their way to the cloud, raw tensors on their way back.

FORMAT.md section 4. Only kinds and limits are checked here; what a tensor means is the codec's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from ppsplit.errors import OptionsError, WireError
from ppsplit.wire.frame import MAX_ARRAY_ITEMS, MAX_MAP_ITEMS, MAX_STRING_BYTES, pack_frame, unpack_frame

FEATURES, TENSORS = "features", "tensors"
MAX_DIMENSIONS = 8
MAX_SIZE = 2**31 - 1
MAX_DETECTIONS = 100_000


class WireTensor(NamedTuple):
    """A tensor as it travels.

    Attributes:
        name, dtype: as in the manifest.
        shape: sizes, batch first.
        data: opaque here; FORMAT.md section 5.
    """

    name: str
    shape: Tuple[int, ...]
    dtype: str
    data: bytes


@dataclass(frozen=True)
class Options:
    """What the sender wants of decoding; None leaves the bundle's own value.

    Attributes:
        score_threshold, iou_threshold: 0..1.
        max_detections: per image.

    Raises:
        OptionsError: a value outside its range.
    """

    score_threshold: Optional[float] = None
    iou_threshold: Optional[float] = None
    max_detections: Optional[int] = None

    def __post_init__(self) -> None:
        for key in ("score_threshold", "iou_threshold"):
            share = getattr(self, key)
            if share is not None and not (type(share) in (int, float) and 0 <= share <= 1):
                raise OptionsError(f"{key} must be a number from 0 to 1, got {share!r:.99}")
        limit = self.max_detections
        if limit is not None and not (type(limit) is int and 1 <= limit <= MAX_DETECTIONS):
            raise OptionsError(f"max_detections must be a whole number from 1 to {MAX_DETECTIONS}, got {limit!r:.99}")

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> "Options":
        """From a map that somebody sent. Raises OptionsError for an unknown key or a value outside its range."""
        known = tuple(vars(cls()))
        unknown = set(values) - set(known)
        if unknown:
            raise OptionsError(f"unknown options {sorted(unknown)[:8]}; known: {', '.join(known)}")
        empty = sorted(key for key, value in values.items() if value is None)
        if empty:
            raise OptionsError(f"the options {empty} are nil; leave out what the bundle's own value is wanted for")
        return cls(**values)

    def to_map(self) -> Dict[str, Any]:
        """Only what is set."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class FeatureMessage:
    """Edge to cloud: the tensors that cross at `cut` of the bundle with fingerprint `bundle`."""

    bundle: str
    cut: str
    encoding: str
    tensors: Tuple[WireTensor, ...]
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class TensorMessage:
    """Cloud to edge: raw outputs, where the bundle's decode family is "raw"; `times_ms` as in the JSON answer."""

    bundle: str
    encoding: str
    tensors: Tuple[WireTensor, ...]
    times_ms: Mapping[str, float] = field(default_factory=dict)


Message = Union[FeatureMessage, TensorMessage]


def pack(message: Message) -> bytes:
    """The message as one frame. Raises WireError for a value the format does not allow."""
    body: Dict[str, Any] = {"bundle": message.bundle, "encoding": message.encoding}
    body["tensors"] = [{**t._asdict(), "shape": list(t.shape)} for t in message.tensors]
    if isinstance(message, FeatureMessage):
        body = {"kind": FEATURES, "cut": message.cut, **body, "options": message.options.to_map()}
    else:
        body = {"kind": TENSORS, **body, "times_ms": {k: float(v) for k, v in message.times_ms.items()}}
    _message(body)  # what a reader would refuse must not leave
    return pack_frame(body)


def unpack(data: bytes) -> Message:
    """Inverse of `pack`.

    Raises:
        WireError: whatever is wrong with the bytes; no other exception.
    """
    return _message(unpack_frame(data))


def _message(body: Dict[str, Any]) -> Message:
    kind = _text(body, "kind")
    tensors = tuple(_tensor(item) for item in _kind_of(body, "tensors", list, MAX_ARRAY_ITEMS))
    if kind == FEATURES:
        options = Options.from_map(_kind_of({"options": {}, **body}, "options", dict, MAX_MAP_ITEMS))
        return FeatureMessage(_text(body, "bundle"), _text(body, "cut"), _text(body, "encoding"), tensors, options)
    if kind == TENSORS:
        times = _kind_of({"times_ms": {}, **body}, "times_ms", dict, MAX_MAP_ITEMS)
        times_ms = {_text({"name": name}, "name"): _number(times, name) for name in times}
        return TensorMessage(_text(body, "bundle"), _text(body, "encoding"), tensors, times_ms)
    raise WireError(f"the message's kind is {kind!r}, expected {FEATURES!r} or {TENSORS!r}")


def _tensor(item: Any) -> WireTensor:
    if not isinstance(item, dict) or set(item) != set(WireTensor._fields):
        raise WireError(f"each tensor is a map of exactly {', '.join(WireTensor._fields)}")
    shape: List[int] = _kind_of(item, "shape", list, MAX_DIMENSIONS)
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in shape):
        raise WireError(f"a tensor's shape is {shape!r:.99}, expected sizes from 0 to 2^31 - 1")
    data = item["data"]
    if not isinstance(data, bytes):
        raise WireError(f"a tensor's data is a {type(data).__name__}, expected binary")
    return WireTensor(_text(item, "name"), tuple(shape), _text(item, "dtype"), data)


def _text(values: Mapping[Any, Any], key: str) -> str:
    text = values.get(key)
    if not isinstance(text, str) or len(text.encode("utf-8", "surrogatepass")) > MAX_STRING_BYTES:
        raise WireError(f"{key} must be a string of at most {MAX_STRING_BYTES} bytes, got {text!r:.99}")
    return text


def _number(values: Mapping[Any, Any], key: str) -> float:
    number = values[key]
    if type(number) not in (int, float) or not 0 <= number < math.inf:
        raise WireError(f"{key} must be a finite number from 0, got {number!r:.99}")
    return float(number)


def _kind_of(values: Mapping[str, Any], key: str, kind: type, limit: int) -> Any:
    value = values.get(key)
    if not isinstance(value, kind) or len(value) > limit:  # type: ignore[arg-type]
        raise WireError(f"{key} must be a {kind.__name__} of at most {limit} entries, got {value!r:.99}")
    return value
