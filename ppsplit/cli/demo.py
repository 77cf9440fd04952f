"""`ppsplit demo`: from nothing to boxes on real photos."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from ppsplit.cli.tables import print_table
from ppsplit.data.sample_photos import sample_photos
from ppsplit.evaluate.coco_photos import coco_photos
from ppsplit.evaluate.demo import run_demo
from ppsplit.image import list_images

COLUMNS = (
    *("name", "edge_macs_share", "payload_bytes", "head_ms", "network_ms", "tail_ms", "total_ms"),
    "edge_peak_rss_mib",
)


def demo(
    input: Optional[Path] = None,
    output: Path = Path("output/demo"),
    bundle: Path = Path("freezed/demo"),
    json: Optional[Path] = None,
) -> None:
    """Fetch weights, export a split detector, serve one half, run the other on photos, leave pictures.

    Args:
        input: A photo or a folder of photos of your own; by default packaged ones, and a few of COCO's where the
            network reaches them.
        output: Folder for the drawn pictures and report.json.
        bundle: Where to write the bundle.
        json: Write the table of the split and its rivals there, too; report.json holds it in any case.
    """
    images = list_images(input) if input else [*sample_photos(), *coco_photos(Path("dataset/demo"))]
    report = run_demo(images, output, bundle, lambda line: print(line, flush=True))
    print_table([_image_row(image) for image in report["client"]["images"]], title="what the split detector found")
    print_table(report["rows"], COLUMNS, title="the split and its rivals", json_path=json)
    print(f"pictures and report.json are in {output}/")


def _image_row(image: dict) -> dict:
    best = sorted(image["detections"], key=lambda found: -found["score"])[:4]
    return {
        "image": Path(image["image"]).name,
        "found": ", ".join(f"{found['class_name']} {found['score']:.2f}" for found in best) or "nothing",
        "payload_bytes": image["payload_bytes"],
        "total_ms": round(sum(image["times_ms"].values()), 1),
    }
