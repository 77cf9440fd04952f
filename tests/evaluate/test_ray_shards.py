"""Shards over a cluster: reports put together, and the same AP as without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ppsplit.edge.timing import STAGES
from tests.cloud.ray_load import need_ray
from tests.conftest import ROOT
from tests.tiny_bundle import CLASS_NAMES

VAL = ROOT.parent / "shared" / "coco" / "val158"
ROWS = "full,split/uint8,jpeg/q75"


def report(names: List[str], payload_bytes: int, peak_rss_bytes: int) -> Dict[str, Any]:
    times_ms = dict.fromkeys(STAGES, 1.0)
    images = [
        {"image": f"/scratch/{name}", "times_ms": times_ms, "payload_bytes": payload_bytes, "received_bytes": 10}
        for name in names
    ]
    return {"cut": "deep", "images": images, "summary": {"skipped": [], "peak_rss_bytes": peak_rss_bytes}}


def evaluate(bundle: Path, images: Path, data: Path, output: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """The real command; its table is `table.json` in `output`."""
    command = ["tools/eval_infer.py", "--bundle", str(bundle), "--images", str(images), "--data", str(data)]
    paths = ["--json", str(output / "table.json"), "--plot", str(output / "plot.png")]
    return subprocess.run([sys.executable, *command, *paths, *more], capture_output=True, text=True, cwd=ROOT)


def test_reports_are_merged_as_if_one_client_had_seen_all_images() -> None:
    need_ray()
    from ppsplit.evaluate.ray_shards import merged
    from ppsplit.evaluate.rows import Row

    row = Row("split/fp32", "deep", 0.5, "paddle", "fp32", "fp32", ())
    [(same, whole)] = merged([[(row, report(["a", "c"], 100, 7))], [(row, report(["b"], 400, 9))]])
    assert same == row
    assert [Path(image["image"]).name for image in whole["images"]] == ["a", "b", "c"]
    summary = whole["summary"]
    assert (summary["images"], summary["payload_bytes_mean"], summary["payload_bytes_p95"]) == (3, 200.0, 400)
    assert (summary["peak_rss_bytes"], summary["times_ms"]["total"]) == (9, float(len(STAGES)))
    assert merged([]) == []


@pytest.mark.slow
@pytest.mark.skipif(not VAL.is_dir(), reason=f"{VAL} is not there: photos of COCO with annotations")
def test_shards_give_the_same_ap(tiny_yolo_bundle: Path, tmp_path: Path) -> None:
    need_ray()
    tables = []
    for more in ([], ["--ray"]):
        options = ["--rows", ROWS, "--limit", "12", *more]
        done = evaluate(tiny_yolo_bundle, VAL / "images", VAL / "instances.json", tmp_path, *options)
        assert done.returncode == 0, done.stderr
        tables.append(json.loads((tmp_path / "table.json").read_text())["rows"])
    kept = ("name", "ap", "ap50", "payload_bytes", "payload_bytes_p95", "images")
    alone, sharded = ([{key: row[key] for key in kept} for row in table] for table in tables)
    assert sharded == alone
    assert all(row["images"] == 12 and row["ap"] > 0 for row in alone)


@pytest.mark.slow
def test_what_fails_in_a_shard_is_told_in_one_line(tiny_bundle: Path, tmp_path: Path) -> None:
    need_ray()
    (tmp_path / "1.png").write_bytes(b"no picture")
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, 1)]
    values = {"images": [{"id": 1, "file_name": "1.png"}], "categories": categories, "annotations": []}
    (tmp_path / "set.json").write_text(json.dumps(values))
    done = evaluate(tiny_bundle, tmp_path, tmp_path / "set.json", tmp_path, "--rows", "split/fp32", "--ray")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ppsplit.edge failed") and "Traceback" not in done.stderr
