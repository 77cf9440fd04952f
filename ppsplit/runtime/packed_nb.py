"""A `.nb` without its weights, which come from a packed file when it is loaded.

Paddle Lite keeps the weights of a float program as they are, so their bytes can be found in its file, left out, and
put back. All integers are little-endian.

    offset  size  what
    0       8     magic, 89 50 50 4E 42 0D 0A 1A
    8       2     version, 1
    10      2     0
    12      4     header bytes H
    16      8     skeleton bytes S
    24      4     CRC-32 of the header and the skeleton
    28      H     header: JSON (ASCII) {"bytes": int, "crc32": int, "holes": [[offset, "name"], ...]}
    28 + H  S     skeleton: zlib of the `.nb` without the holes; the file ends with it

"bytes" and "crc32" are of the whole `.nb`. A hole is where the float32 values of the parameter "name" belong; holes
ascend and do not overlap.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from ppsplit.errors import WeightsError

MAGIC, VERSION = b"\x89PPNB\r\n\x1a", 1
PREAMBLE = struct.Struct("<8sHHIQI")
MAX_BYTES = 1 << 31
FLOAT_BYTES = 4
LEAST_BYTES = 256  # of a parameter: fewer are found in a file by chance, and gain nothing
Hole = Tuple[int, str]


def pack_nb(nb: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """The file's bytes. What of `weights`, float32, is not in the `.nb` as it is stays where it stands."""
    holes: List[Hole] = []
    taken: List[Tuple[int, int]] = []
    for name, values in weights.items():
        data = np.ascontiguousarray(values, "<f4").tobytes()
        place = nb.find(data) if len(data) >= LEAST_BYTES else -1
        if place >= 0 and all(place + len(data) <= start or place >= end for start, end in taken):
            taken.append((place, place + len(data)))
            holes.append((place, name))
    skeleton, position = [], 0
    for start, end in sorted(taken):
        skeleton.append(nb[position:start])
        position = end
    skeleton.append(nb[position:])
    about = {"bytes": len(nb), "crc32": zlib.crc32(nb), "holes": sorted(holes)}
    header = json.dumps(about, sort_keys=True, separators=(",", ":")).encode("ascii")
    body = zlib.compress(b"".join(skeleton), 9)
    checksum = zlib.crc32(body, zlib.crc32(header))
    return PREAMBLE.pack(MAGIC, VERSION, 0, len(header), len(body), checksum) + header + body


def read_packed_nb(path: Path, weights: Mapping[str, np.ndarray]) -> bytes:
    """The whole `.nb`.

    Args:
        weights: float32 values of every parameter that was left out; others are not looked at.

    Raises:
        WeightsError: cannot be read, damaged, of another version, or the weights are others than those left out.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a .nb packed by export") from error
    try:
        return unpack_nb(data, weights)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; export the bundle again") from error


def unpack_nb(data: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """Inverse of `pack_nb`. Nothing larger than the `.nb` that the header promises, MAX_BYTES at most, is allocated."""
    header, body = _framed(data)
    holes = _holes(header, weights)
    missing = header["bytes"] - sum(weights[name].size * FLOAT_BYTES for _, name in holes)
    if missing < 0:  # before anything is copied: a short header can name one weight a thousand times
        raise WeightsError("the holes are larger than the file")
    parts = [(place, np.ascontiguousarray(weights[name], "<f4").tobytes()) for place, name in holes]
    inflater = zlib.decompressobj()
    try:
        skeleton = inflater.decompress(body, missing + 1)
    except zlib.error as error:
        raise WeightsError(f"the skeleton cannot be inflated ({error})") from error
    if len(skeleton) != missing or inflater.unused_data:
        raise WeightsError(f"the skeleton should have {missing} bytes")
    whole, position, written = [], 0, 0
    for place, part in parts:
        if place < written or place - written > missing - position:
            raise WeightsError("holes overlap, or lie outside the file")
        whole += [skeleton[position : position + place - written], part]
        position += place - written
        written = place + len(part)
    nb = b"".join([*whole, skeleton[position:]])
    if zlib.crc32(nb) != header["crc32"]:
        raise WeightsError("the weights are not those that were left out")
    return nb


def _framed(data: bytes) -> Tuple[Dict[str, Any], bytes]:
    if len(data) < PREAMBLE.size:
        raise WeightsError(f"{len(data)} bytes are no packed .nb")
    magic, version, zero, header_bytes, body_bytes, checksum = PREAMBLE.unpack_from(data)
    if magic != MAGIC or version != VERSION or zero:
        raise WeightsError(f"it is no packed .nb of version {VERSION}")
    start = PREAMBLE.size + header_bytes
    if len(data) != start + body_bytes or zlib.crc32(memoryview(data)[PREAMBLE.size :]) != checksum:
        raise WeightsError("the file is truncated or damaged")
    try:
        header = json.loads(data[PREAMBLE.size : start].decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the header is not JSON ({type(error).__name__})") from error
    if not isinstance(header, dict) or set(header) != {"bytes", "crc32", "holes"}:
        raise WeightsError("the header's fields are others")
    if type(header["bytes"]) is not int or not 0 <= header["bytes"] <= MAX_BYTES or type(header["crc32"]) is not int:
        raise WeightsError("the header's numbers are none")
    return header, data[start:]


def _holes(header: Dict[str, Any], weights: Mapping[str, np.ndarray]) -> List[Hole]:
    holes = header["holes"]
    if not isinstance(holes, list):
        raise WeightsError("the holes are no list")
    for hole in holes:
        if not isinstance(hole, list) or len(hole) != 2 or type(hole[0]) is not int or not isinstance(hole[1], str):
            raise WeightsError("a hole is a place and a name")
        if hole[1] not in weights:
            raise WeightsError(f"the weights lack {hole[1]!r}")
    return [(place, name) for place, name in holes]
