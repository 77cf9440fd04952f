"""The benchmark under load, short: its figures are of a real server, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_it_measures_and_loses_nothing(tiny_bundle: Path, noise_photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/serve_load.py", "--bundle", str(tiny_bundle), "--images", str(noise_photos)]
    short = ["--seconds", "2", "--rounds", "1", "--soak-seconds", "6", "--connections", "4"]
    written = tmp_path / "load.json"
    done = subprocess.run(
        [*command, *short, "--json", str(written)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(written.read_text())
    assert all(row["images_per_s"] > 0 for row in figures["rows"])
    soak, overhead = figures["about"]["soak"], figures["about"]["overhead"]
    assert overhead["requests"] > 20
    assert 0 < overhead["of_it_encode_ms"] < overhead["overhead_p50_ms"]
    for load in ("half", "double"):
        row = soak[load]
        assert row["lost"] == row["without_retry_after"] == 0
        assert row["ok"] + row["refused"] == row["requests"] > 0
        assert row["ok"] > 0
    assert len(soak["rss_mib"]) > 3
