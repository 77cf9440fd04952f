"""CSV logs that a killed and resumed training continues without a gap or a row twice."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ppsplit.files import write_bytes_atomically


class CsvLog:
    """Rows in a file, in the order of their steps.

    Args:
        path: the file.
        columns: the first is "step", the steps learnt when the row was written.
        learnt: steps that the training begins with; rows of later steps are from a run that was killed, and go.
    """

    def __init__(self, path: Path, columns: Sequence[str], learnt: int) -> None:
        self.path = path
        self.columns = list(columns)
        kept = [row for row in read_log(path) if int(row["step"]) <= learnt] if learnt else []
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_bytes_atomically(path, text.getvalue().encode())

    def write(self, row: Dict[str, Any]) -> None:
        """Append a row; it is in the file when this returns."""
        with open(self.path, "a", encoding="utf-8", newline="") as stream:
            csv.DictWriter(stream, self.columns, lineterminator="\n").writerow(row)


def read_log(path: Path) -> List[Dict[str, str]]:
    """The whole rows of a log, a row cut short by a kill left out; none where there is no file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(io.StringIO(whole)) if None not in row.values() and row["step"].isdigit()]
