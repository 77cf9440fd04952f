"""What becomes of answers: drawn pictures, a drawn video, JSON lines, COCO's results."""

from __future__ import annotations

import io
import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, TextIO, Tuple

import cv2
import numpy as np

from ppsplit.edge.answer import EdgeResult
from ppsplit.edge.draw import draw_result
from ppsplit.edge.stream import StreamAnswer
from ppsplit.errors import ConfigError, DataError, ImageError
from ppsplit.files import write_bytes_atomically, write_json_atomically
from ppsplit.image import encode_jpeg

DRAWN_JPEG_QUALITY = 92
LIVE_FRAMES_PER_S = 10.0  # of a drawn video, where the source has no rate of its own
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov")
CODECS = {".avi": "MJPG"}  # of the others, mp4v
STDOUT = "-"


class Output(ABC):
    """Takes answers in order."""

    @abstractmethod
    def write(self, answer: StreamAnswer) -> None:
        """Take one. Raises OSError, ImageError."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes. Raises OSError."""


class DrawnPictures(Output):
    """Drawn pictures in a folder, or .npz of raw outputs; named as `write_result` says."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = folder, class_names

    def write(self, answer: StreamAnswer) -> None:
        write_result(self._folder / answer.frame.name, answer.frame.image_rgb, answer.result, self._class_names)

    def close(self) -> None:
        pass  # every picture is complete already


class DrawnVideo(Output):
    """A drawn video, written aside and renamed at the end; of the first frame's size."""

    def __init__(self, path: Path, frames_per_s: Optional[float], class_names: Sequence[str]) -> None:
        self._path, self._rate, self._class_names = path, frames_per_s or LIVE_FRAMES_PER_S, class_names
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
        self._writer: Optional[cv2.VideoWriter] = None
        self._size_wh = (0, 0)
        self._frames = 0

    def write(self, answer: StreamAnswer) -> None:
        drawn = draw_result(answer.frame.image_rgb, answer.result, self._class_names)
        if drawn is None:
            return
        if self._writer is None:
            self._open((drawn.shape[1], drawn.shape[0]))
            assert self._writer is not None
        if (drawn.shape[1], drawn.shape[0]) != self._size_wh:
            drawn = cv2.resize(drawn, self._size_wh)
        self._writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            if _frames_of(self._partial) < self._frames - 1:  # OpenCV does not tell; some formats round their length
                self._partial.unlink()
                raise OSError(f"the video {self._path} could not be written to its end; is the disk full?")
            os.replace(self._partial, self._path)

    def _open(self, size_wh: Tuple[int, int]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*CODECS.get(self._path.suffix.lower(), "mp4v"))
        self._writer, self._size_wh = cv2.VideoWriter(str(self._partial), code, self._rate, size_wh), size_wh
        if not self._writer.isOpened():
            raise ImageError(
                f"OpenCV cannot write the video {self._path}; its suffix should be one of {VIDEO_SUFFIXES}"
            )


class JsonLines(Output):
    """A line of JSON for each frame, in a file or on standard output ("-"); at once, so that it can be followed."""

    def __init__(self, path: str, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        if path != STDOUT:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._stream: TextIO = sys.stdout if path == STDOUT else open(path, "w", encoding="utf-8")  # noqa: SIM115

    def write(self, answer: StreamAnswer) -> None:
        self._stream.write(json.dumps(to_line(answer, self._class_names), allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        if self._stream is not sys.stdout:
            self._stream.close()


class CocoResults(Output):
    """Boxes as COCO's results file, an array, written at the end.

    Args:
        path: of the file.
        class_names: of the bundle.
        annotations: COCO's annotations that say which ids images (by file name) and categories (by name) have.
            Without them a picture named by a number has that id, another its index, and class i is category i + 1.

    Raises:
        DataError: the annotations cannot be read, or lack one of the classes.
    """

    def __init__(self, path: Path, class_names: Sequence[str], annotations: Optional[Path] = None) -> None:
        self._path, self._records = path, []  # type: Path, List[Dict[str, Any]]
        self._image_ids: Mapping[str, int] = {}
        self._category_ids = [index + 1 for index in range(len(class_names))]
        if annotations is not None:
            self._image_ids, self._category_ids = _coco_ids(annotations, class_names)

    def write(self, answer: StreamAnswer) -> None:
        found = answer.result.detections
        if found is None:
            raise ConfigError("COCO's results are of detectors; this bundle's answers have no boxes")
        image_id = self._image_id(answer)
        for index, (x1, y1, x2, y2) in enumerate(found.boxes_xyxy.tolist()):
            class_id = int(found.class_ids[index])
            record: Dict[str, Any] = {
                "image_id": image_id,
                "category_id": self._category_ids[class_id] if class_id < len(self._category_ids) else class_id + 1,
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(found.scores[index]), 5),
            }
            if found.masks is not None:
                record["segmentation"] = found.masks[index].to_json()
            self._records.append(record)

    def close(self) -> None:
        write_json_atomically(self._path, self._records)

    def _image_id(self, answer: StreamAnswer) -> int:
        if self._image_ids:
            if answer.frame.name not in self._image_ids:
                raise DataError(f"the picture {answer.frame.name} is not in the COCO annotations that were given")
            return self._image_ids[answer.frame.name]
        stem = Path(answer.frame.name).stem
        return int(stem) if stem.isdecimal() else answer.index


def to_line(answer: StreamAnswer, class_names: Sequence[str]) -> Dict[str, Any]:
    """An answer, JSON-ready."""
    result = answer.result
    values: Dict[str, Any] = {
        "index": answer.index,
        "name": answer.frame.name,
        "origin": result.origin,
        "degraded_reason": result.degraded_reason,
        "latency_ms": round(answer.latency_ms, 1),
        "point": answer.point,
        "payload_bytes": result.payload_bytes,
        "dropped": answer.dropped,
        "image_hw": list(result.image_hw),
        "times_ms": result.times_ms,
    }
    if result.detections is not None:
        values["detections"] = result.detections.to_records(class_names)
    if result.classification is not None:
        values["classes"] = result.classification.to_records(class_names)
    if result.outputs is not None:
        values["outputs"] = {name: list(tensor.shape) for name, tensor in result.outputs.items()}
    return values


def write_result(
    target: Path, image_rgb: np.ndarray, result: EdgeResult, class_names: Sequence[str], draw: bool = True
) -> None:
    """A drawn picture, or raw outputs as .npz, beside the name `target`.

    A PNG stays one, everything else becomes JPEG, under a name that keeps its origin's. Raises OSError, ImageError.
    """
    if result.outputs is not None:
        stream = io.BytesIO()
        np.savez(stream, **result.outputs)
        write_bytes_atomically(target.with_name(f"{target.name}.npz"), stream.getvalue())
        return
    drawn = draw_result(image_rgb, result, class_names) if draw else None
    if drawn is None:
        return
    if target.suffix.lower() == ".png":
        fine, data = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        if not fine:
            raise ImageError(f"OpenCV could not encode {target}")
        write_bytes_atomically(target, data.tobytes())
        return
    if target.suffix.lower() not in (".jpg", ".jpeg"):
        target = target.with_name(f"{target.name}.jpg")
    write_bytes_atomically(target, encode_jpeg(drawn, DRAWN_JPEG_QUALITY))


def _frames_of(video: Path) -> int:
    """How many frames a video file says it has; 0 where it cannot be read."""
    capture = cv2.VideoCapture(str(video))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()


def _coco_ids(annotations: Path, class_names: Sequence[str]) -> Tuple[Dict[str, int], List[int]]:
    try:
        values = json.loads(annotations.read_text(encoding="utf-8"))
        images = {Path(str(image["file_name"])).name: int(image["id"]) for image in values["images"]}
        categories = {str(category["name"]): int(category["id"]) for category in values["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{annotations} cannot be read as COCO's annotations ({error!r:.200})") from error
    missing = [name for name in class_names if name not in categories]
    if missing:
        raise DataError(f"{annotations} has no category {missing[0]!r} ({len(missing)} of the bundle's are missing)")
    return images, [categories[name] for name in class_names]
