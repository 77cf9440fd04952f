"""Binary masks as run lengths, the form COCO's JSON has them in (pycocotools' rleApi): small, and exact.

Runs go down the columns, first those of 0, and alternate. In JSON the counts are a text of 6 bits a character, in which
from the third run on only the difference from the run two before stands. numpy only: the edge writes and reads it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import numpy as np

MAX_SIDE = 65_535
MAX_PIXELS = 1 << 28  # of a mask that is read: a few bytes of text may say any size, and a picture is a byte a pixel
_FIRST = 48  # the character of the value 0
_MORE, _SIGN, _BITS = 0x20, 0x10, 5


@dataclass(frozen=True)
class RunLengths:
    """A binary mask.

    Attributes:
        hw: height and width.
        counts: lengths of the runs, 0s first; they add up to all of the picture.

    Raises:
        ValueError: they do not, or one is negative.
    """

    hw: Tuple[int, int]
    counts: Tuple[int, ...]

    def __post_init__(self) -> None:
        if not all(0 < side <= MAX_SIDE for side in self.hw):
            raise ValueError(f"a mask of {self.hw[0]}x{self.hw[1]}; sides are from 1 to {MAX_SIDE}")
        if any(count < 0 for count in self.counts) or sum(self.counts) != self.hw[0] * self.hw[1]:
            raise ValueError(f"the runs of a mask do not fill its {self.hw[0]}x{self.hw[1]} pixels")

    @classmethod
    def of(cls, mask: np.ndarray) -> "RunLengths":
        """Of bool [H, W]."""
        flat = np.asarray(mask, bool).ravel(order="F")
        ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        edges = np.concatenate([[0], ends, [flat.size]])
        counts = np.diff(edges).tolist()
        return cls((mask.shape[0], mask.shape[1]), tuple([0, *counts] if flat[0] else counts))

    def mask(self) -> np.ndarray:
        """As bool [H, W]."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(self.hw, order="F")

    @property
    def area(self) -> int:
        """Pixels that are set."""
        return sum(self.counts[1::2])

    def to_json(self) -> Dict[str, Any]:
        """{"size": [H, W], "counts": TEXT}, as COCO has it."""
        return {"size": list(self.hw), "counts": _text(self.counts)}

    @classmethod
    def from_json(cls, values: Dict[str, Any]) -> "RunLengths":
        """Inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: something lacks, is of the wrong kind, or the runs do not fill the picture.
        """
        height, width = values["size"]
        if type(height) is not int or type(width) is not int or type(values["counts"]) is not str:
            raise TypeError("a mask's size is two whole numbers, its counts a text")
        if height * width > MAX_PIXELS:
            raise ValueError(f"a mask of {height}x{width}; at most {MAX_PIXELS} pixels are read")
        return cls((height, width), _counts(values["counts"]))


def _text(counts: Tuple[int, ...]) -> str:
    letters: List[str] = []
    for index, count in enumerate(counts):
        value, more = count - (counts[index - 2] if index > 2 else 0), True
        while more:
            low, value = value & 0x1F, value >> _BITS
            more = value != (-1 if low & _SIGN else 0)
            letters.append(chr((low | _MORE if more else low) + _FIRST))
    return "".join(letters)


def _counts(text: str) -> Tuple[int, ...]:
    counts: List[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - _FIRST
        if not 0 <= code < 64 or shift > 6 * _BITS:
            raise ValueError("a mask's counts are no run lengths")
        value |= (code & 0x1F) << shift
        shift += _BITS
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("a mask's counts end in the middle of a number")
    return tuple(counts)
