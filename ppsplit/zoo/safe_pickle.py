"""Read pickles without executing anything.

Python's unpickler calls whatever a file names. This one is a small machine of its own: it knows the opcodes
that build plain values, and of calls only those in the `Vocabulary` it was given, each done by code of ours. Any
other name is refused as soon as it is read, and no name is ever imported.
"""

from __future__ import annotations

import io
import pickletools
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from ppsplit.errors import UnsafePickleError, WeightsError
from ppsplit.zoo.pickled_arrays import ARRAYS, DTypeToken, checked_dict, set_array, set_byte_order
from ppsplit.zoo.vocabulary import Name, Record, Vocabulary

PROTOCOLS = (2, 3, 4)
_MARK = object()
# what values of the wrong kind raise on their way through the machine
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError)


def load_pickle(data: bytes, origin: str = "the pickle", vocabulary: Vocabulary = ARRAYS) -> Any:
    """Rebuild plain values (None, bool, numbers, str, bytes, list, tuple, dict) and what the vocabulary adds.

    Raises:
        WeightsError: truncated or malformed.
        UnsafePickleError: an opcode or a name that is not on the list.
    """
    return load_pickle_at(data, 0, origin, vocabulary)[0]


def load_pickle_at(data: bytes, start: int, origin: str, vocabulary: Vocabulary) -> Tuple[Any, int]:
    """`load_pickle` of the pickle that begins at byte `start`; its value, and the byte behind its end."""
    machine = _Machine(vocabulary)
    stream = io.BytesIO(data)
    stream.seek(start)
    try:
        for opcode, argument, position in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.result(), (position or 0) + 1
            machine.step(opcode.name, argument)
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{origin} was refused: {error}; nothing was executed. Get it from its author"
        ) from None
    except _MALFORMED as error:
        raise WeightsError(f"{origin} is truncated or not a pickle of arrays ({error}); fetch it again") from error
    raise WeightsError(f"{origin} is truncated; fetch it again")


class _Machine:
    """The pickle stack machine, without its power."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.stack: List[Any] = []
        self.memo: Dict[int, Any] = {}

    def result(self) -> Any:
        if len(self.stack) != 1 or isinstance(self.stack[0], (Name, DTypeToken)) or self.stack[0] is _MARK:
            raise ValueError("it does not end in one value")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _OPCODES:
            _OPCODES[name](self, argument)
        else:
            raise UnsafePickleError(f"it uses the opcode {name}, which no file of arrays needs")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value was expected, not a mark")
        return value

    def pop_to_mark(self) -> List[Any]:
        position = len(self.stack) - 1
        while self.stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise ValueError("a mark is missing")
        values = self.stack[position + 1 :]
        del self.stack[position:]
        return values

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def append(self, values: List[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("items for something that is no list")
        self.stack[-1].extend(values)

    def set_items(self, values: List[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise ValueError("items for something that is no dict")
        self.stack[-1].update(checked_dict(values))

    def protocol(self, number: int) -> None:
        if number not in PROTOCOLS:
            raise ValueError(f"pickle protocol {number}; expected one of {PROTOCOLS}")

    def find(self, name: str) -> None:
        if not self.vocabulary.knows(name):
            raise UnsafePickleError(f"it names {name[:100]}")
        self.stack.append(Name(name))

    def find_on_stack(self) -> None:
        attribute, module = self.pop(), self.pop()
        if type(attribute) is not str or type(module) is not str:
            raise ValueError("a name that is no text")
        self.find(f"{module}.{attribute}")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        name = function.name if isinstance(function, Name) else type(function).__name__
        if type(arguments) is tuple and name in self.vocabulary.calls:
            self.stack.append(self.vocabulary.calls[name](*arguments))
        elif isinstance(function, Name) and arguments == () and self.vocabulary.is_record(name):
            self.stack.append(Record(name))
        else:
            raise UnsafePickleError(f"it calls {name}")

    def new_object(self) -> None:
        """An object of a class, without its constructor: always a record, and never with arguments."""
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, Name) or arguments != () or not self.vocabulary.is_record(kind.name):
            raise UnsafePickleError(f"it makes a {kind.name if isinstance(kind, Name) else type(kind).__name__}")
        self.stack.append(Record(kind.name))

    def build(self) -> None:
        """Give an object its state. Only a fresh array, a dtype or a record takes one."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, DTypeToken) and type(state) is tuple:
            set_byte_order(target, state)
        elif type(target) is np.ndarray and target.shape == (0,) and type(state) is tuple:
            set_array(target, state)
        elif isinstance(target, Record) and type(state) is dict:
            target.state.update(state)
        elif not (self.vocabulary.ignores_state and type(target) is dict and type(state) is dict):
            raise UnsafePickleError(f"it sets the state of a {type(target).__name__}")

    def persistent(self) -> None:
        if self.vocabulary.resolve is None:
            raise UnsafePickleError("it uses the opcode BINPERSID, which no file of arrays needs")
        self.stack.append(self.vocabulary.resolve(self.pop()))

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def put(self, index: Optional[int]) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]


# the text opcodes of protocols 0 and 1 are left out on purpose: nothing that writes protocol 2 uses them
_LITERALS = frozenset(
    [
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    ]
)
_CONSTANTS: Dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_OPCODES: Dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, number: machine.protocol(number),
    "FRAME": lambda machine, size: None,
    "POP": lambda machine, _: machine.stack.pop(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, name: machine.find(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.find_on_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "NEWOBJ": lambda machine, _: machine.new_object(),
    "BINPERSID": lambda machine, _: machine.persistent(),
    "MEMOIZE": lambda machine, _: machine.put(None),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, index: machine.put(index)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.get(index)),
}
