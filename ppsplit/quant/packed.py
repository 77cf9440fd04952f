"""The packed weights file: integers of 2 to 8 bits with no bit wasted, and what turns them into floats.

Reads with numpy alone, because boards unpack it. Nothing in it is executed. All integers are little-endian.

    offset  size  what
    0       8     magic, 89 50 50 51 57 0D 0A 1A
    8       2     version, 1
    10      2     0
    12      4     header bytes H
    16      8     payload bytes P
    24      4     CRC-32 of the header and the payload
    28      H     header: canonical JSON (ASCII, sorted keys, no spaces)
    28 + H  P     payload; the file ends with it

The header is {"fingerprint": str, "layers": [{"axis", "bits", "name", "offset", "shape"}, ...]}, names unique. The
payload has each layer's parts in the header's order, nothing between them:

- bits 32: float32 values in C order; axis null, offset false.
- bits b: codes in C order, two's complement, b bits each, the first in the lowest bits of the first byte; bits left
  in the last byte are 0. Then float32 scales, then float32 offsets if "offset": one each for every channel of
  "axis", or one if it is null. Scales are finite and > 0, offsets finite.

A weight is float32(code) * scale, then + offset where there is one, each rounded to float32. So every reader gets
the same floats, and a set of weights has exactly one file.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.files import write_bytes_atomically
from ppsplit.quant.bitstream import PACKED_BITS, pack_codes, packed_bytes, unpack_codes

MAGIC, VERSION = b"\x89PPQW\r\n\x1a", 1
PREAMBLE = struct.Struct("<8sHHIQI")
FLOAT_BITS = 32
LAYER_KEYS = {"axis", "bits", "name", "offset", "shape"}
MAX_HEADER_BYTES, MAX_RANK, MAX_ELEMENTS = 1 << 24, 8, 1 << 40
FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True)
class PackedLayer:
    """One parameter as integers.

    Attributes:
        codes: integers of any shape, each within -2^(bits-1) .. 2^(bits-1) - 1.
        bits: 2..8.
        scale: float32, () or [C] for the channels of `axis`; > 0.
        axis: of the channels, not negative; None for one scale.
        offset: float32 like `scale`, or None; bias correction has one.
    """

    codes: np.ndarray
    bits: int
    scale: np.ndarray
    axis: Optional[int] = None
    offset: Optional[np.ndarray] = None

    def weights(self) -> np.ndarray:
        """float32 of the codes' shape."""
        shape = [1] * self.codes.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        values = self.codes.astype(np.float32) * self.scale.astype(np.float32).reshape(shape)
        return values if self.offset is None else values + self.offset.astype(np.float32).reshape(shape)


Layer = Union[PackedLayer, np.ndarray]


def write_packed(path: Path, layers: Mapping[str, Layer], fingerprint: str = "") -> Path:
    """Write parameters: `PackedLayer`s as integers, float32 arrays (biases) as they are.

    Args:
        fingerprint: of the program they belong to, given back by `read_packed`.

    Raises:
        WeightsError: a layer is not what `PackedLayer` says, or an array is not float32.
    """
    return write_bytes_atomically(path, encode_packed(layers, fingerprint))


def encode_packed(layers: Mapping[str, Layer], fingerprint: str = "") -> bytes:
    """The bytes that `write_packed` writes. Raises WeightsError."""
    described, payload = [], []
    for name, layer in layers.items():
        entry, parts = _encode_layer(name, layer)
        described.append(entry)
        payload += parts
    header = _canonical({"fingerprint": fingerprint, "layers": described})
    body = b"".join(payload)
    checksum = zlib.crc32(body, zlib.crc32(header))
    return PREAMBLE.pack(MAGIC, VERSION, 0, len(header), len(body), checksum) + header + body


def read_packed(path: Path) -> Tuple[Dict[str, Layer], str]:
    """Layers by name, in the file's order, and the fingerprint.

    Raises:
        WeightsError: cannot be read, truncated, damaged, of another version, or not in the one form a file may have.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a packed weights file") from error
    try:
        return decode_packed(data)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; export the weights again") from error


def unpack_weights(path: Path) -> Dict[str, np.ndarray]:
    """Every parameter as float32, as a network loads them. Raises WeightsError as `read_packed`."""
    layers, _ = read_packed(path)
    return {n: layer.weights() if isinstance(layer, PackedLayer) else layer for n, layer in layers.items()}


def decode_packed(data: bytes) -> Tuple[Dict[str, Layer], str]:
    """`read_packed` of bytes. Nothing is allocated that the bytes do not pay for. Raises WeightsError."""
    header, payload = _framed(data)
    described, fingerprint = _parsed(header)
    layers: Dict[str, Layer] = {}
    position = 0
    for entry in described:
        layer, position = _decode_layer(entry, payload, position)
        if entry["name"] in layers:
            raise WeightsError(f"two layers are called {entry['name']!r}")
        layers[entry["name"]] = layer
    if position != len(payload):
        raise WeightsError(f"{len(payload) - position} bytes belong to no layer")
    return layers, fingerprint


def _canonical(header: Dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _encode_layer(name: str, layer: Layer) -> Tuple[Dict[str, Any], List[bytes]]:
    if not isinstance(layer, PackedLayer):
        if layer.dtype != np.float32:
            raise WeightsError(f"{name} is {layer.dtype}; give float32, or a PackedLayer")
        entry = {"name": name, "bits": FLOAT_BITS, "shape": list(layer.shape), "axis": None, "offset": False}
        return entry, [np.ascontiguousarray(layer, FLOAT32).tobytes()]
    shape = tuple(layer.codes.shape)
    entry = {
        "name": name,
        "bits": layer.bits,
        "shape": list(shape),
        "axis": layer.axis,
        "offset": layer.offset is not None,
    }
    _check_entry(entry)
    channels = 1 if layer.axis is None else shape[layer.axis]
    parts = [pack_codes(layer.codes, layer.bits)]
    for what, values in (("scale", layer.scale), ("offset", layer.offset)):
        if values is not None:
            parts.append(_checked_floats(what, np.asarray(values, FLOAT32).ravel(), channels).tobytes())
    return entry, parts


def _framed(data: bytes) -> Tuple[bytes, bytes]:
    """Header and payload, lengths and checksum verified."""
    if len(data) < PREAMBLE.size:
        raise WeightsError(f"{len(data)} bytes are no packed weights file, which has at least {PREAMBLE.size}")
    magic, version, reserved, header_bytes, payload_bytes, checksum = PREAMBLE.unpack_from(data)
    if magic != MAGIC:
        raise WeightsError("this is not a packed weights file")
    if version != VERSION or reserved:
        raise WeightsError(f"this is version {version}, this ppsplit reads {VERSION}")
    if header_bytes > MAX_HEADER_BYTES or len(data) != PREAMBLE.size + header_bytes + payload_bytes:
        expected = PREAMBLE.size + header_bytes + payload_bytes
        raise WeightsError(f"the file is truncated or has a tail: {len(data)} bytes, {expected} were expected")
    if zlib.crc32(memoryview(data)[PREAMBLE.size :]) != checksum:
        raise WeightsError("the checksum does not match; the file is damaged")
    start = PREAMBLE.size + header_bytes
    return data[PREAMBLE.size : start], data[start:]


def _parsed(header: bytes) -> Tuple[List[Dict[str, Any]], str]:
    try:
        values = json.loads(header.decode("ascii"))
        again = _canonical(values)
    except (ValueError, RecursionError, MemoryError) as error:
        raise WeightsError(f"the header is not JSON ({type(error).__name__})") from error
    if again != header or not isinstance(values, dict) or set(values) != {"fingerprint", "layers"}:
        raise WeightsError("the header is not in its one form")
    described, fingerprint = values["layers"], values["fingerprint"]
    if not isinstance(described, list) or not isinstance(fingerprint, str):
        raise WeightsError("the header's fields are of the wrong kind")
    for entry in described:
        _check_entry(entry)
    return described, fingerprint


def _check_entry(entry: Any) -> None:
    """Raise WeightsError where a layer's description is not one that this format has."""
    if not isinstance(entry, dict) or set(entry) != LAYER_KEYS or not isinstance(entry["name"], str):
        raise WeightsError("a layer's description lacks fields or has unknown ones")
    name, bits, shape, axis = entry["name"], entry["bits"], entry["shape"], entry["axis"]
    if type(bits) is not int or bits not in (*PACKED_BITS, FLOAT_BITS):
        raise WeightsError(f"{name!r} has {bits!r} bits; {', '.join(map(str, PACKED_BITS))} or 32 are possible")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or any(type(s) is not int or s < 0 for s in shape):
        raise WeightsError(f"{name!r} has shape {shape!r:.80}, which is none")
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:  # [2^62, 0] takes no bytes, and numpy refuses it
        raise WeightsError(f"{name!r} has shape {shape!r:.80}, which is none")
    if axis is not None and (type(axis) is not int or not 0 <= axis < len(shape)):
        raise WeightsError(f"{name!r} has its channels on axis {axis!r:.80} of {len(shape)}")
    if type(entry["offset"]) is not bool or (bits == FLOAT_BITS and (axis is not None or entry["offset"])):
        raise WeightsError(f"{name!r} has scales or offsets that do not go with {bits} bits")


def _decode_layer(entry: Dict[str, Any], payload: bytes, position: int) -> Tuple[Layer, int]:
    bits, shape, axis = entry["bits"], tuple(entry["shape"]), entry["axis"]
    count = math.prod(shape)
    codes_bytes = 4 * count if bits == FLOAT_BITS else packed_bytes(count, bits)
    channels = 1 if axis is None else shape[axis]
    floats_bytes = 0 if bits == FLOAT_BITS else 4 * channels
    needed = codes_bytes + floats_bytes * (2 if entry["offset"] else 1)
    if needed > len(payload) - position:  # before anything of that size is allocated
        raise WeightsError(f"{entry['name']!r} needs {needed} bytes, {len(payload) - position} are left")
    end = position + codes_bytes
    if bits == FLOAT_BITS:
        return np.frombuffer(payload, FLOAT32, count, position).astype(np.float32).reshape(shape), end
    codes = unpack_codes(payload[position:end], count, bits).reshape(shape)
    floats = []
    for what in ("scale", "offset")[: 2 if entry["offset"] else 1]:
        values = np.frombuffer(payload, FLOAT32, channels, end).astype(np.float32)
        floats.append(_checked_floats(what, values, channels).reshape(() if axis is None else (channels,)))
        end += floats_bytes
    return PackedLayer(codes, bits, floats[0], axis, floats[1] if entry["offset"] else None), end


def _checked_floats(what: str, values: np.ndarray, channels: int) -> np.ndarray:
    if values.shape != (channels,):
        raise WeightsError(f"{values.size} {what}s were given for {channels} channels")
    if not np.isfinite(values).all() or (what == "scale" and (values <= 0).any()):
        raise WeightsError(f"a {what} is not finite, or a scale not above 0")
    return values
