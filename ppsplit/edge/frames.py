"""Where the frames of a stream come from: pictures, a video file, a camera."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Union

import cv2
import numpy as np

from ppsplit.edge.sources import find_images, read_photos
from ppsplit.errors import DataError, ImageError
from ppsplit.image import IMAGE_SUFFIXES

CAMERA_TRIES = 5
CAMERA_PAUSE_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """One picture of a stream.

    Attributes:
        name: its file's, or its number.
        image_rgb: uint8 [H, W, 3].
    """

    name: str
    image_rgb: np.ndarray


class Source(ABC):
    """Frames, one after the other.

    Attributes:
        live: they come whether or not anybody is ready; then the oldest that wait are dropped, never the newest.
        continuous: neighbours show the same scene, so that an answer may stand for the next frame for a while.
        count: how many there will be, None where nobody knows.
        frames_per_s: None where that has no meaning.
    """

    live = False
    continuous = False
    count: Optional[int] = None
    frames_per_s: Optional[float] = None

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames. Raises DataError where there are none, or no more because of a fault."""


class PictureFiles(Source):
    """Picture files; what cannot be read is told to `on_skip` and left out."""

    def __init__(self, paths: Sequence[Path], on_skip: Callable[[ImageError], None]) -> None:
        self.paths: List[Path] = list(paths)
        self.count = len(self.paths)
        self._on_skip = on_skip

    def frames(self) -> Iterator[Frame]:
        for photo in read_photos(self.paths, self._on_skip):
            yield Frame(photo.path.name, photo.image_rgb)


class VideoFile(Source):
    """A video file; all its frames. Raises DataError: OpenCV cannot read it."""

    continuous = True

    def __init__(self, path: Path) -> None:
        self.path = path
        capture = cv2.VideoCapture(str(path))
        try:
            if not capture.isOpened():
                raise DataError(f"{path} is neither a picture nor a video that OpenCV can read")
            count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        self.count = int(count) if count > 0 else None
        self.frames_per_s = float(rate) if 0 < rate < 1000 else None

    def frames(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(str(self.path))
        try:
            index = 0
            while True:
                fine, image_bgr = capture.read()
                if not fine:
                    break
                yield Frame(str(index), cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
                index += 1
        finally:
            capture.release()
        if not index:
            raise DataError(f"the video {self.path} has no frame that can be read")


class Camera(Source):
    """A camera: a device's number or file, or the address of a stream. Opened anew after a fault, a few times.

    Args:
        address: such as 0, /dev/video0 or rtsp://host/stream.
        tries: how often in a row it is opened in vain.
        pause_s: between them.
    """

    live = True
    continuous = True

    def __init__(self, address: Union[int, str], tries: int = CAMERA_TRIES, pause_s: float = CAMERA_PAUSE_S) -> None:
        self.address, self._tries, self._pause_s = address, tries, pause_s

    def frames(self) -> Iterator[Frame]:
        index, vain = 0, 0
        while vain < self._tries:
            capture = cv2.VideoCapture(self.address)
            try:
                while True:
                    fine, image_bgr = capture.read()
                    if not fine:
                        break
                    vain = 0
                    yield Frame(str(index), cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
                    index += 1
            finally:
                capture.release()
            vain += 1
            log.warning("camera %s gives no picture (%d of %d tries)", self.address, vain, self._tries)
            if vain < self._tries:
                time.sleep(self._pause_s)
        raise DataError(f"the camera {self.address} gives no picture after {index}; is it there, and used by nobody?")


def is_pictures(address: str) -> bool:
    """Whether `address` means picture files, not a video file or a camera."""
    path = Path(address)
    if _is_camera(address):
        return False
    return not path.is_file() or path.suffix.lower() in IMAGE_SUFFIXES


def open_source(address: str, on_skip: Callable[[ImageError], None]) -> Source:
    """The source that `address` means: a picture, a folder, a video file, or a camera.

    Raises:
        DataError: nothing there, or nothing that can be read.
    """
    if is_pictures(address):
        return PictureFiles(find_images(Path(address)), on_skip)
    if _is_camera(address):
        return Camera(int(address) if address.isdecimal() else address)
    return VideoFile(Path(address))


def _is_camera(address: str) -> bool:
    return "://" in address or address.startswith("/dev/") or (address.isdecimal() and not Path(address).exists())
