"""darknet's .cfg files: sections of `key=value` lines, read and written.

[section] opens a section; lines that begin with # or ; are comments; white space means nothing anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Tuple

from ppsplit.errors import ConfigError


@dataclass(frozen=True)
class Section:
    """One [section].

    Attributes:
        kind: its name: "net", "convolutional", "maxpool", "yolo", ...
        options: key to value, both without white space.
        line: where it opens in the file, 1 for the first line; 0 for a section that was not read.
    """

    kind: str
    options: Dict[str, str]
    line: int = field(default=0, compare=False)

    def integer(self, key: str, default: Optional[int] = None) -> int:
        """The option as a whole number. Raises ConfigError where it is something else, or absent without default."""
        if key not in self.options and default is not None:
            return default
        return int(self._numbers(key, whole=True, count=1)[0])

    def integers(self, key: str) -> Tuple[int, ...]:
        """The option as comma-separated whole numbers. Raises ConfigError."""
        return tuple(int(number) for number in self._numbers(key, whole=True))

    def numbers(self, key: str) -> Tuple[float, ...]:
        """The option as comma-separated numbers. Raises ConfigError."""
        return self._numbers(key, whole=False)

    def _numbers(self, key: str, whole: bool, count: Optional[int] = None) -> Tuple[float, ...]:
        text = self.options.get(key)
        try:
            numbers = tuple(int(part) if whole else float(part) for part in (text or "").strip(",").split(","))
        except ValueError:
            numbers = ()
        if not numbers or count not in (None, len(numbers)):
            found = "no such option" if text is None else f"{key}={text}"
            kind = "whole numbers" if whole else "numbers"
            raise ConfigError(f"[{self.kind}] in line {self.line}: {found}; expected {key}= with {kind}")
        return numbers


def parse_cfg(text: str) -> List[Section]:
    """The sections of a .cfg file.

    Of a key that is given twice in a section the first counts, as in darknet.

    Raises:
        ConfigError: a line is neither a section, an option nor a comment, or [net] does not come first.
    """
    sections: List[Section] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"\s", "", raw)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if line[-1] != "]" or len(line) < 3:
                raise ConfigError(f"line {number} of the cfg is {raw.strip()!r}; expected [section]")
            sections.append(Section(line[1:-1], {}, number))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key or not sections:
            raise ConfigError(f"line {number} of the cfg is {raw.strip()!r}; expected key=value inside a [section]")
        sections[-1].options.setdefault(key, value)
    if not sections or sections[0].kind not in ("net", "network"):
        raise ConfigError("the cfg does not begin with [net]; give a darknet network's .cfg file")
    return sections


def format_cfg(sections: Iterable[Section]) -> str:
    """The text of a .cfg file; `parse_cfg` reads it back to equal sections."""
    lines: List[str] = []
    for section in sections:
        lines.append(f"[{section.kind}]")
        lines.extend(f"{key}={value}" for key, value in section.options.items())
        lines.append("")
    return "\n".join(lines)
