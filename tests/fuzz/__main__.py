"""`python -m tests.fuzz`: as many mutated frames as you like, with figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jsonargparse import CLI
from rich.progress import Progress

from ppsplit.cli.eval_infer import cpu_name
from ppsplit.cli.tables import print_table
from tests.fuzz.frames import fuzz_frames


def main(frames: int = 1_000_000, seed: int = 0, json: Path = Path("output/fuzz.json")) -> int:
    """Read mutated frames, keep those that fail in tests/fuzz/corpus, exit with 1 if there are any.

    Args:
        frames: How many.
        seed: Of the mutations.
        json: Where to write the figures.
    """
    with Progress() as bar:
        task = bar.add_task("frames", total=frames)
        rows = [dataclasses.asdict(fuzz_frames(frames, seed, lambda: bar.advance(task)))]
    about = {"command": f"python -m tests.fuzz --frames {frames} --seed {seed}", "cpu": cpu_name()}
    print_table(rows, title="mutated frames", json_path=json, about=about)
    return 1 if rows[0]["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(CLI(main, as_positional=False))
