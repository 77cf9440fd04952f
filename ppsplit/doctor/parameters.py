"""Whether a `.pdiparams` holds what its program needs, read without loading it.

One record for each parameter, in the order of their names, little-endian:

    uint32       0
    uint64       levels of detail, for each: uint64 bytes, then those
    uint32       0
    int32        size of the description, a protobuf message: field 1 the type's number, field 2 each size
    the values
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, Iterator, List, Tuple

from ppsplit.doctor.finding import FATAL, FINE, Finding
from ppsplit.paddle_first import paddle

# Bytes of an element, by Paddle's number for its type: bool, ints of 16 to 64, floats of 16 to 64 bits, and so on.
ITEM_BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16}
CHECK = "parameters"


def parameter_findings(program: Any, params: Path) -> List[Finding]:
    """One row on the parameters' file.

    Args:
        program: the paddle Program that needs them.
    """
    needed = sorted((v.name, tuple(v.shape)) for v in program.list_vars() if paddle.static.io.is_persistable(v))
    if not params.is_file():
        return [_missing(params, [name for name, _ in needed])]
    size = params.stat().st_size
    found: List[Tuple[int, ...]] = []
    try:
        with open(params, "rb") as file:
            found.extend(_shapes(file, size))
    except (struct.error, ValueError, KeyError) as error:
        name = needed[len(found)][0] if len(found) < len(needed) else "the last one"
        what = f"{params.name} has {size:,} bytes and ends or is damaged within {name}, after {len(found)} parameters"
        return [Finding(CHECK, FATAL, f"{what} ({error})", "copy it again, or save the program again")]
    if len(found) != len(needed) or any(shape != other for shape, (_, other) in zip(found, needed)):
        what = f"{params.name} holds {len(found)} parameters of other shapes than the {len(needed)} that are needed"
        return [Finding(CHECK, FATAL, what, "take the file that was saved with this program, or save both again")]
    return [Finding(CHECK, FINE, f"{params.name}: {len(found)} parameters, {size:,} bytes")]


def _missing(params: Path, names: List[str]) -> Finding:
    beside = [name for name in names if (params.parent / name).is_file()]
    if beside:
        cure = "load it with paddle.static.load_inference_model and save it again with save_inference_model"
        return Finding(CHECK, FATAL, f"{len(beside)} parameters lie one by one beside the program", cure + ": one file")
    return Finding(CHECK, FATAL, f"{params.name} is missing", f"put it beside the program as {params}")


def _shapes(file: BinaryIO, size: int) -> Iterator[Tuple[int, ...]]:
    """Each record's shape; raises struct.error or ValueError where the file ends early."""
    while file.tell() < size:
        _, levels = struct.unpack("<IQ", file.read(12))
        for _ in range(levels):
            file.seek(struct.unpack("<Q", file.read(8))[0], 1)
        _, description_bytes = struct.unpack("<Ii", file.read(8))
        kind, shape = _description(file.read(max(description_bytes, 0)))
        values = ITEM_BYTES[kind]
        for length in shape:
            values *= length
        if values > size - file.tell():
            raise ValueError(f"{values:,} bytes are needed, {size - file.tell():,} are left")
        file.seek(values, 1)
        yield shape


def _description(message: bytes) -> Tuple[int, Tuple[int, ...]]:
    kind, shape, waiting = -1, [], list(message)
    while waiting:
        tag, value = _varint(waiting), _varint(waiting)
        if tag == 0x08:
            kind = value
        elif tag == 0x10:
            shape.append(value)
        elif tag == 0x12:  # all sizes packed into one field
            rest = waiting[:value]
            del waiting[:value]
            while rest:
                shape.append(_varint(rest))
    return kind, tuple(shape)


def _varint(waiting: List[int]) -> int:
    value, shift = 0, 0
    while True:
        if not waiting or shift > 63:
            raise ValueError("a description is cut short")
        byte = waiting.pop(0)
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
