"""Bad data by name and counted: what was left out of a set, and why."""

from __future__ import annotations

from typing import Dict, List

MOST_NAMED = 3


class Problems:
    """Names of images or annotations under each reason. Only ever grows; threads may share it."""

    def __init__(self) -> None:
        self._names: Dict[str, Dict[str, int]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count `name` under `reason`; the same name twice counts once."""
        self._names.setdefault(reason, {}).setdefault(name, 1)

    def names(self, reason: str) -> List[str]:
        """What was counted under `reason`, in the order it was met."""
        return list(self._names.get(reason, {}))

    def counts(self) -> Dict[str, int]:
        """Reason to how many."""
        return {reason: len(names) for reason, names in list(self._names.items())}

    def lines(self) -> List[str]:
        """One line a reason, with the first few names."""
        lines = []
        for reason, names in list(self._names.items()):
            listed = list(names)
            more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
            lines.append(f"{len(listed)} {reason}: {', '.join(listed[:MOST_NAMED])}{more}")
        return lines
