"""`ppsplit tail`: the cloud half by hand, from a file of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Sequence

from ppsplit.bundle import Bundle
from ppsplit.cli.tables import print_table
from ppsplit.cloud.result import Result
from ppsplit.cloud.tail import run_tail


def tail(
    features: Path,
    /,
    bundle: Path = Path("freezed/yolov3_tiny-split"),
    runtime: Literal["paddle", "onnx", "openvino"] = "paddle",
    threads: int = 1,
    json: Optional[Path] = None,
) -> None:
    """Finish what `ppsplit client --save-features FILE` began.

    The file does not say where the image lies in the network's input, so boxes are in pixels of the input.

    Args:
        features: That file.
        bundle: The bundle, the same as the edge's.
        runtime: What runs the network; onnx where the bundle was exported with --format onnx.
        threads: Threads of the network's runtime.
        json: Write the table there too.
    """
    result = run_tail(bundle, features, threads, runtime)
    rows = result_rows(result, Bundle.open(bundle).manifest.class_names)
    print_table(rows, title=f"{features} at cut {result.cut}", json_path=json, about={"times_ms": result.times_ms})


def result_rows(result: Result, class_names: Sequence[str]) -> List[Dict[str, Any]]:
    """A row for each object found, for each class told, or for each raw output where nothing decodes them."""
    decoded: Sequence[Any] = result.detections or result.classifications or ()
    if result.outputs is not None:
        return [{"output": name, "shape": list(array.shape)} for name, array in result.outputs.items()]
    return [
        {"image": number, **record} for number, found in enumerate(decoded) for record in found.to_records(class_names)
    ]
