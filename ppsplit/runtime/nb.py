"""What a `.nb` says of itself, read before Paddle Lite does: it ends the whole process on a file it cannot take.

Layout, little-endian, as Paddle Lite 2.13 writes it:

    uint16        meta version, 2
    char[16]      version of the optimizer that made the file, ended by a zero byte; behind it anything
    uint64        size of the program in bytes
    the program   a flatbuffer; every operator has an attribute that names its kernel
    uint16 uint16 version 0, and the size of a meta part, 0
    uint16        size of the header that follows, 6: uint16 number of parameters, uint32 the largest one's bytes
    parameters    for each: uint32 size of what follows, uint32 where its flatbuffer begins, then that
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, Iterator, Optional, Sequence, Tuple, Union

from ppsplit.errors import InferenceRuntimeError

META_VERSION = 2
PREFIX = struct.Struct("<H16sQ")
PARAMS = struct.Struct("<HHHHI")
PARAMS_HEADER_BYTES = 6

# Paddle Lite's numbers for where a kernel runs; host kernels run on any CPU.
HOST, ANY = 1, 6
TARGETS = {2: "x86", 4: "arm", 5: "opencl"}

# Positions of fields in the flatbuffer's tables.
BLOCKS, OPS, ATTRIBUTES, NAME, TEXT = 0, 3, 3, 0, 4
KERNEL = "__@kernel_type_attr@__"

Buffer = Union[bytes, mmap.mmap]


@dataclass(frozen=True)
class NbFile:
    """A `.nb` whose parts are all there.

    Attributes:
        version: of the optimizer that made it, such as "v2.13-rc".
        targets: what its kernels need: of "x86", "arm", "opencl", or "target 9" for others; empty where any CPU does.
        parameters: how many it holds.
        kernels: of each operator, in order, "type/alias/target/precision/layout", the last three as numbers: what the
            optimizer chose is what Paddle Lite runs.
    """

    version: str
    targets: FrozenSet[str]
    parameters: int
    kernels: Tuple[str, ...]


def read_nb(path: Path) -> NbFile:
    """Read a `.nb` as far as its headers go.

    Raises:
        InferenceRuntimeError: not a `.nb`, of another format, or incomplete.
    """
    try:
        with open(path, "rb") as file:
            if not file.read(1):  # an empty file cannot be mapped
                raise _damaged(path, "it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # a board has no memory for two copies
                return _read(path, data)
    except OSError as error:
        raise InferenceRuntimeError(f"{path} cannot be read ({error.strerror}); export the bundle again") from error


def check_nb(path: Path, target: str, installed: str, data: Optional[bytes] = None) -> NbFile:
    """What `read_nb` reads, when this machine's Paddle Lite can run it.

    Args:
        data: the bytes, where `path` is not the `.nb` itself but what they come from.
        target: this machine's, "x86" or "arm".
        installed: the version of its Paddle Lite, "" where unknown.

    Raises:
        InferenceRuntimeError: as `read_nb`, or made for another target or by another version.
    """
    nb = read_nb(path) if data is None else _read(path, data)
    if nb.targets - {target}:
        raise InferenceRuntimeError(
            f"{path} was made for {' and '.join(sorted(nb.targets))}, this machine is {target}; "
            "take the bundle's .nb for it (--target), or export with --nb " + target
        )
    made, here = release(nb.version), release(installed)
    if made and here and made != here:  # a build from a branch has no number; the format's own version must do then
        raise InferenceRuntimeError(
            f"{path} was made by Paddle Lite {nb.version}, installed is {installed}; install the version that made "
            "it, or export the bundle again with the one that is installed"
        )
    return nb


def release(version: str) -> Optional[Tuple[int, int]]:
    """Major and minor number: (2, 13) for "v2.13-rc" and "2.13rc0"; None where it has none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _read(path: Path, data: Buffer) -> NbFile:
    try:
        meta, version, program_bytes = PREFIX.unpack_from(data)
    except struct.error as error:
        raise _damaged(path, f"it has {len(data)} bytes") from error
    if meta != META_VERSION or not re.match(rb"[\x21-\x7e]+(\0|\Z)", version):
        raise InferenceRuntimeError(
            f"{path} is no .nb of format {META_VERSION} (it begins with {data[:8].hex(' ')}); "
            "convert the program again with Paddle Lite 2.13"
        )
    end = PREFIX.size + program_bytes
    if end > len(data):
        raise _damaged(path, f"its program should have {program_bytes:,} bytes and has {len(data) - PREFIX.size:,}")
    try:
        kernels = tuple(_kernels(data[PREFIX.size : end]))
        targets = frozenset(_targets(kernels))
    except (struct.error, IndexError, ValueError) as error:
        raise _damaged(path, f"its program cannot be read: {error}") from error
    return NbFile(version.split(b"\0")[0].decode("ascii"), targets, _count_parameters(path, data, end), kernels)


def _damaged(path: Path, what: str) -> InferenceRuntimeError:
    return InferenceRuntimeError(f"{path} is incomplete or damaged ({what}); copy or export it again")


def _count_parameters(path: Path, data: Buffer, position: int) -> int:
    """Walk all parameters; they must end where the file ends."""
    try:
        version, meta_bytes, header_bytes, count, _ = PARAMS.unpack_from(data, position)
        if (version, meta_bytes, header_bytes) != (0, 0, PARAMS_HEADER_BYTES):
            raise _damaged(path, "its parameters have an unknown header")
        position += PARAMS.size
        for _ in range(count):
            position += 4 + struct.unpack_from("<I", data, position)[0]
    except struct.error as error:
        raise _damaged(path, "it ends within its parameters") from error
    if position != len(data):
        raise _damaged(path, f"its parameters should end at byte {position:,} and it has {len(data):,}")
    return count


def _kernels(program: bytes) -> Iterator[str]:
    """The kernel of each operator, in a program's flatbuffer."""
    for block in _tables(program, _at(program, 0), BLOCKS):
        for operator in _tables(program, block, OPS):
            for attribute in _tables(program, operator, ATTRIBUTES):
                if _text(program, attribute, NAME) == KERNEL:
                    yield _text(program, attribute, TEXT)


def _targets(kernels: Sequence[str]) -> Iterator[str]:
    """What the kernels need that not any CPU has."""
    for kernel in kernels:
        number = int(kernel.split("/")[-3])
        if number not in (HOST, ANY):
            yield TARGETS.get(number, f"target {number}")


def _at(buffer: bytes, position: int) -> int:
    """The place to which the unsigned offset at `position` leads."""
    return position + _unsigned(buffer, position)


def _unsigned(buffer: bytes, position: int, kind: str = "<I") -> int:
    if position < 0:  # Python would count from the end
        raise IndexError(f"offset {position}")
    return struct.unpack_from(kind, buffer, position)[0]


def _field(buffer: bytes, table: int, index: int) -> int:
    """The place of a table's field, 0 where it has its default value."""
    layout = table - struct.unpack("<i", struct.pack("<I", _unsigned(buffer, table)))[0]
    place = 4 + 2 * index
    if place >= _unsigned(buffer, layout, "<H"):
        return 0
    offset = _unsigned(buffer, layout + place, "<H")
    return table + offset if offset else 0


def _tables(buffer: bytes, table: int, index: int) -> Iterator[int]:
    """The places of the tables in a vector of them."""
    field = _field(buffer, table, index)
    if field:
        vector = _at(buffer, field)
        for number in range(_unsigned(buffer, vector)):
            yield _at(buffer, vector + 4 + 4 * number)


def _text(buffer: bytes, table: int, index: int) -> str:
    field = _field(buffer, table, index)
    if not field:
        return ""
    start = _at(buffer, field)
    size = _unsigned(buffer, start)
    if start + 4 + size > len(buffer):
        raise IndexError(f"text of {size} bytes")
    return buffer[start + 4 : start + 4 + size].decode("utf-8")
