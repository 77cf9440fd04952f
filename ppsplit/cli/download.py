"""`ppsplit download`: named weights."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from ppsplit.cli.tables import print_table
from ppsplit.zoo import ZOO
from ppsplit.zoo import download as fetch


def download(name: Optional[str] = None, /, output: Path = Path("complete_model"), json: Optional[Path] = None) -> None:
    """Fetch named weights, checked against their sha256; without a name, list them.

    Args:
        name: One of the names that the list shows.
        output: The folder to put the file in.
        json: Without a name, write the list there too.
    """
    if name is not None:
        print(fetch(name, output))
        return
    rows = [
        {
            "name": file.name,
            "model": file.model,
            "file": file.file_name,
            "present": (output / file.file_name).is_file(),
            "sources": [str(source) for source in file.sources],
            "sha256": file.sha256,
        }
        for file in ZOO.values()
    ]
    columns = ("name", "model", "file", "present", "sources")
    print_table(rows, columns=columns, title="weights that can be fetched by name", json_path=json)
