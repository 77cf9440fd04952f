"""The few calls that a pickle of PyTorch's makes, each done here with numpy and with its arguments checked.

A tensor is a window onto a storage (PyTorch's torch/_utils.py, `_rebuild_tensor_v2`): offset, sizes and strides, all in
elements. Its numbers are read only when they are asked for, and only after the window was found to lie inside.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, FrozenSet, Tuple

import numpy as np

from ppsplit.errors import UnsafePickleError
from ppsplit.zoo.pickled_arrays import CALLS, DTypeToken, set_array
from ppsplit.zoo.vocabulary import Name, Vocabulary

BFLOAT16 = "bfloat16"  # the upper half of a float32; numpy has none
STORAGE_DTYPES: Dict[str, str] = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": BFLOAT16,
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}
# names of numbers' types, which may stand in a model's settings
DTYPE_NAMES = tuple(
    f"torch.{name}"
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
)
# Python's own modules and those that only hold machinery: no network's class lives there, whatever the file says
_PYTHONS_OWN: FrozenSet[str] = frozenset(getattr(sys, "stdlib_module_names", sys.builtin_module_names))
NO_RECORDS = _PYTHONS_OWN | {"__builtin__", "copy_reg", "commands", "numpy", "torch", "paddle", "pip", "setuptools"}
RECORD_PREFIXES = ("torch.nn.modules.",)


class Storage:
    """A run of numbers in the file.

    Attributes:
        key: its name in the file.
        dtype: of `STORAGE_DTYPES`.
        elements: how many numbers the pickle says it has.
    """

    def __init__(self, key: str, dtype: str, elements: int) -> None:
        self.key, self.dtype, self.elements = key, dtype, elements

    @property
    def item_bytes(self) -> int:
        """Bytes of one number."""
        return 2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize

    def numbers(self, data: bytes) -> np.ndarray:
        """Its bytes as an array [elements]; bfloat16 as float32."""
        if self.dtype != BFLOAT16:
            return np.frombuffer(data, self.dtype)
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")


class Tensor:
    """A window onto a storage; `size` and `stride` in elements. Raises ValueError where it leaves the storage."""

    def __init__(self, storage: Storage, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...]) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        count, last = 1, offset
        for length, step in zip(size, stride):
            count *= length
            last += (length - 1) * step
        if count and last >= storage.elements:
            raise ValueError(f"a tensor reads element {last} of storage {storage.key}, which has {storage.elements}")
        if count > storage.elements:  # a few bytes must not become gigabytes
            raise ValueError(f"a tensor has {count} elements, its storage {storage.key} {storage.elements}")

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor, given its storage's numbers; a view of them."""
        steps = tuple(step * numbers.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, steps, writeable=False)


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    if not isinstance(storage, Storage):
        raise UnsafePickleError(f"it makes a tensor of a {type(storage).__name__}")
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride) or len(size) > 16:
        raise ValueError("a tensor's sizes and strides do not fit together")
    if any(type(number) is not int or number < 0 for number in (offset, *size, *stride)):
        raise ValueError("a tensor's offset, sizes and strides are not whole numbers from 0")
    return Tensor(storage, offset, size, stride)


def _rebuild_parameter(tensor: Any, requires_grad: Any = False, hooks: Any = None) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise UnsafePickleError(f"it makes a parameter of a {type(tensor).__name__}")
    return tensor


def _size(sizes: Any = ()) -> Tuple[int, ...]:
    if type(sizes) not in (tuple, list) or any(type(number) is not int for number in sizes):
        raise ValueError("a torch.Size does not hold whole numbers")
    return tuple(sizes)


def _device(kind: Any, index: Any = 0) -> str:
    if type(kind) is not str:
        raise ValueError("a device's kind is no text")
    return kind


def _set(items: Any = ()) -> FrozenSet[str]:
    if type(items) not in (tuple, list) or any(type(item) is not str for item in items):
        raise ValueError("a set holds something other than texts")
    return frozenset(items)


def _numpy_number(dtype: Any, data: Any) -> Any:
    """How numpy pickles a single number: `scalar(dtype, bytes)`."""
    if not isinstance(dtype, DTypeToken) or type(data) is not bytes:
        raise UnsafePickleError("it makes a numpy number of objects")
    number = np.zeros(0, np.int8)
    set_array(number, (1, (), dtype, False, data))
    return number[()].item()


TORCH_CALLS: Dict[str, Callable[..., Any]] = {
    **CALLS,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "numpy.core.multiarray.scalar": _numpy_number,
    "numpy._core.multiarray.scalar": _numpy_number,
}


def is_record(name: str) -> bool:
    """Whether a name may be a layer's class: torch.nn's, or of a module that is not Python's, numpy's or PyTorch's."""
    return name.startswith(RECORD_PREFIXES) or name.split(".")[0] not in NO_RECORDS


def torch_vocabulary() -> Vocabulary:
    """What a file of PyTorch's may name; each file gets its own storages."""
    storages: Dict[Tuple[str, str], Storage] = {}

    def resolve(persistent_id: Any) -> Storage:
        """A persistent id: ("storage", type, key, device, elements[, view])."""
        if type(persistent_id) is not tuple or len(persistent_id) not in (5, 6) or persistent_id[0] != "storage":
            raise UnsafePickleError("it refers to something outside that is no storage")
        _, kind, key, _, elements = persistent_id[:5]
        if not isinstance(kind, Name) or kind.name not in STORAGE_DTYPES:
            raise UnsafePickleError("it refers to a storage of an unknown kind")
        if type(key) is not str or type(elements) is not int or elements < 0 or persistent_id[5:] not in ((), (None,)):
            raise ValueError("a storage's key or length is malformed")
        storage = storages.setdefault((key, kind.name), Storage(key, STORAGE_DTYPES[kind.name], elements))
        if storage.elements != elements:
            raise ValueError(f"storage {key} has {storage.elements} elements in one place and {elements} in another")
        return storage

    return Vocabulary(
        TORCH_CALLS, ("numpy.ndarray", *STORAGE_DTYPES, *DTYPE_NAMES), is_record, resolve, ignores_state=True
    )
