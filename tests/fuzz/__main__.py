"""`python -m tests.fuzz`: as many mutated frames and requests as you like, with figures."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Dict

from jsonargparse import CLI
from rich.progress import Progress

from ppsplit.cli.eval_infer import cpu_name
from ppsplit.cli.tables import print_table
from tests.fuzz.frames import fuzz_frames
from tests.fuzz.http import fuzz_http
from tests.tiny_bundle import export_tiny, serving


def main(frames: int = 1_000_000, requests: int = 20_000, seed: int = 0, json: Path = Path("output/fuzz.json")) -> int:
    """Read mutated frames and send mutated requests; what fails is kept beside this file, and the exit code is 1.

    Args:
        frames: How many, for the cloud's reader of frames.
        requests: How many, for a server over sockets.
        seed: Of the mutations.
        json: Where to write the figures.
    """
    rows = []
    with Progress() as bar:
        if frames:
            task = bar.add_task("frames", total=frames)
            rows.append(_row("frames", fuzz_frames(frames, seed, lambda: bar.advance(task))))
        if requests:
            task = bar.add_task("requests", total=requests)
            with tempfile.TemporaryDirectory() as scratch:
                bundle = export_tiny("yolov3", Path(scratch) / "tiny")
                with serving(bundle) as server:
                    rows.append(_row("requests", fuzz_http(server, bundle, requests, seed, lambda: bar.advance(task))))
    about = {"command": f"python -m tests.fuzz --frames {frames} --requests {requests} --seed {seed}"}
    print_table(rows, title="mutated input", json_path=json, about={**about, "cpu": cpu_name()})
    return 1 if any(row["failures"] for row in rows) else 0


def _row(what: str, figures: Any) -> Dict[str, Any]:
    return {"input": what, **dataclasses.asdict(figures)}


if __name__ == "__main__":
    raise SystemExit(CLI(main, as_positional=False))
