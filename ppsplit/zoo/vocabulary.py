"""What the pickles of one kind of file may name, and what stands for it here. No name is ever imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Optional


class Name:
    """A global the file named: one that may be called, a record's class, or a class that is only an argument."""

    def __init__(self, name: str) -> None:
        self.name = name


class Record:
    """An object of a class that is not known here: the class's name and the state the file gave it, nothing more.

    Attributes:
        name: of the class, with its module.
        state: its attributes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Dict[str, Any] = {}


def _never(name: str) -> bool:
    return False


@dataclass(frozen=True)
class Vocabulary:
    """The allow-list of one kind of file.

    Attributes:
        calls: name to what is done here instead when the file calls it.
        classes: what may be named, but only as an argument.
        is_record: whether a name may be the class of a `Record`.
        resolve: a persistent id to what it stands for; None where the format has none.
        ignores_state: whether a dict may be given attributes, which are dropped.
    """

    calls: Dict[str, Callable[..., Any]]
    classes: Collection[str]
    is_record: Callable[[str], bool] = _never
    resolve: Optional[Callable[[Any], Any]] = None
    ignores_state: bool = False

    def knows(self, name: str) -> bool:
        """Whether the name may be read at all."""
        return name in self.calls or name in self.classes or self.is_record(name)
