"""Reading an image, fitting it to a network's input, and the exact way back for boxes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import cv2
import numpy as np

from ppsplit.detections import Detections
from ppsplit.errors import ConfigError, DataError, ImageError
from ppsplit.masks import RunLengths

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
RESIZES = ("letterbox", "stretch", "crop")
CHANNELS = ("rgb", "bgr")
INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
USUAL_CROP_SHARE = 0.875  # the shorter side to 256 pixels, of which the middle 224
MAX_RESIZED_PIXELS = 2**26  # before cropping


@dataclass(frozen=True)
class Preprocess:
    """How pixels become a network's input: x = (pixel / 255 - mean) / std, channels first.

    Attributes:
        input_hw: height and width of the network's input.
        resize: "letterbox" keeps the aspect ratio and pads; "stretch" does not keep it; "crop" keeps it and cuts off
            what hangs over, the same on opposite sides.
        pad_pixel: the padding's value, 0..255.
        mean, std: per RGB channel, on the 0..1 scale.
        crop_share: for "crop": how much of the scaled image's tighter side is kept; ImageNet's classifiers are
            measured with `USUAL_CROP_SHARE`.
        channels: their order in the input, "rgb" or "bgr".
        interpolation: of the resizing, "linear" or "cubic". What a network was trained with matters: PicoDet-S loses
            a hundredth of AP with the other one.
    """

    input_hw: Tuple[int, int]
    resize: str = "letterbox"
    pad_pixel: float = 127.5
    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Tuple[float, float, float] = (1.0, 1.0, 1.0)
    crop_share: float = 1.0
    channels: str = "rgb"
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ConfigError(f"resize must be one of {', '.join(RESIZES)}, not {self.resize!r}")
        if not 0 < self.crop_share <= 1 or (self.crop_share != 1 and self.resize != "crop"):
            raise ConfigError(f"crop_share goes with resize 'crop' and is above 0 and at most 1, not {self.crop_share}")
        if self.channels not in CHANNELS:
            raise ConfigError(f"channels must be one of {', '.join(CHANNELS)}, not {self.channels!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {self.interpolation!r}")
        if not all(np.isfinite([*self.mean, *self.std])) or 0 in self.std:
            raise ConfigError(f"mean and std must be numbers, std none of them 0, not {self.mean} and {self.std}")
        if len(self.input_hw) != 2 or min(self.input_hw) < 1:
            raise ConfigError(f"input_hw must be two positive numbers, not {self.input_hw!r}")

    def to_json(self) -> Dict[str, Any]:
        """Plain lists and numbers, for the manifest; without what plays no part.

        Bundles had their fingerprints before there were `crop_share`, `channels` and `interpolation`, and keep them.
        """
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if self.resize != "crop":
            del fields["crop_share"]
        if self.channels == "rgb":
            del fields["channels"]
        if self.interpolation == "linear":
            del fields["interpolation"]
        return fields

    def but(
        self,
        resize: Optional[str] = None,
        pad_pixel: Optional[float] = None,
        mean: Optional[Tuple[float, float, float]] = None,
        std: Optional[Tuple[float, float, float]] = None,
        channels: Optional[str] = None,
        interpolation: Optional[str] = None,
    ) -> "Preprocess":
        """The same but for what is given. Where that changes `resize` to "crop", the usual share is kept."""
        given: Dict[str, Any] = {"resize": resize, "pad_pixel": pad_pixel, "mean": mean, "std": std}
        given.update({"channels": channels, "interpolation": interpolation})
        fields = {name: value for name, value in given.items() if value is not None}
        if fields.get("resize", self.resize) != self.resize:
            fields["crop_share"] = USUAL_CROP_SHARE if fields["resize"] == "crop" else 1.0
        return replace(self, **fields)

    @classmethod
    def from_json(cls, values: Dict[str, Any]) -> "Preprocess":
        """Inverse of `to_json`. Raises TypeError for an unknown or missing key."""
        fields: Dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the network's input: input = original * scale + offset, per axis.

    Attributes:
        original_hw: the image, in pixels.
        resized_hw: the image after resizing, before padding.
        offset_yx: its top-left corner in the input; negative where it was cropped.
    """

    original_hw: Tuple[int, int]
    resized_hw: Tuple[int, int]
    offset_yx: Tuple[int, int]

    def to_original(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Boxes float [N, 4] from input pixels to original pixels, clipped to the image."""
        (height, width), (resized_h, resized_w) = self.original_hw, self.resized_hw
        offset = np.array([self.offset_yx[1], self.offset_yx[0]] * 2, np.float32)
        scale = np.array([width / resized_w, height / resized_h] * 2, np.float32)
        limit = np.array([width, height] * 2, np.float32)
        return np.clip((boxes_xyxy - offset) * scale, 0, limit).astype(np.float32)

    def mask_to_original(self, mask: np.ndarray) -> np.ndarray:
        """A mask bool [input_h, input_w] in original pixels, bool [H, W]: padding cut off, resized bilinearly."""
        (top, left), (height, width) = self.offset_yx, self.resized_hw
        inner = np.ascontiguousarray(mask[top : top + height, left : left + width])
        if self.original_hw == self.resized_hw:
            return inner
        return cv2.resize(inner.astype(np.float32), self.original_hw[::-1], interpolation=cv2.INTER_LINEAR) > 0.5

    def detections_to_original(self, found: Detections) -> Detections:
        """Objects in input pixels, masks included, as objects in original pixels.

        Raises:
            ValueError: the masks are not of the input's size.
        """
        moved = found.with_boxes(self.to_original(found.boxes_xyxy))
        if found.masks is None:
            return moved
        (top, left), (height, width) = self.offset_yx, self.resized_hw
        if any(mask.hw[0] < top + height or mask.hw[1] < left + width for mask in found.masks):
            raise ValueError(f"masks of {found.masks[0].hw}, the picture alone takes {self.resized_hw} of the input")
        return moved.with_masks([RunLengths.of(self.mask_to_original(mask.mask())) for mask in found.masks])

    def to_input(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """Boxes float [N, 4] from original pixels to input pixels; the inverse of `to_original`."""
        (height, width), (resized_h, resized_w) = self.original_hw, self.resized_hw
        offset = np.array([self.offset_yx[1], self.offset_yx[0]] * 2, np.float32)
        scale = np.array([resized_w / width, resized_h / height] * 2, np.float32)
        return (boxes_xyxy * scale + offset).astype(np.float32)


def read_image(path: Path) -> np.ndarray:
    """The image at `path` as uint8 [H, W, 3], RGB, turned as its EXIF tag says.

    Raises:
        ImageError: missing, empty, or not an image OpenCV can decode.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; give a path to an image file") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """Encoded bytes (JPEG, PNG, ...) as uint8 [H, W, 3], RGB. Raises ImageError."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ImageError(
            f"{name} ({len(data)} bytes) is not an image OpenCV can decode; use JPEG, PNG, BMP, WebP or TIFF"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def encode_jpeg(image_rgb: np.ndarray, quality: int) -> bytes:
    """uint8 [H, W, 3] RGB as JPEG of `quality` 1..100."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ImageError(f"OpenCV could not encode an image of shape {image_rgb.shape} as JPEG")
    return data.tobytes()


def list_images(path: Path) -> List[Path]:
    """`path` itself if it is a file, else the images right inside that folder, sorted by name.

    Raises:
        DataError: nothing there, or no image in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give an image or a folder of images")
    images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise DataError(f"no image in {path}; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return images


def fit(image_rgb: np.ndarray, preprocess: Preprocess) -> Tuple[np.ndarray, Placement]:
    """Resize, and pad or crop, to the network's input size, still as pixels.

    Args:
        image_rgb: uint8 [H, W, 3].

    Returns:
        uint8 [input_h, input_w, 3] (padding rounded half up) and where the image lies in it.

    Raises:
        ImageError: the image is to be cropped and so long and thin that, resized, it would not fit into memory.
    """
    height, width = image_rgb.shape[:2]
    input_h, input_w = preprocess.input_hw
    if preprocess.resize == "crop":
        return _fit_cropped(image_rgb, preprocess)
    if preprocess.resize == "stretch":
        resized_hw = (input_h, input_w)
    else:
        scale = min(input_h / height, input_w / width)
        resized_hw = (max(1, int(height * scale + 1e-6)), max(1, int(width * scale + 1e-6)))
    offset_yx = ((input_h - resized_hw[0]) // 2, (input_w - resized_hw[1]) // 2)
    canvas = np.full((input_h, input_w, 3), int(preprocess.pad_pixel + 0.5), np.uint8)
    resized = cv2.resize(image_rgb, resized_hw[::-1], interpolation=INTERPOLATIONS[preprocess.interpolation])
    canvas[offset_yx[0] : offset_yx[0] + resized_hw[0], offset_yx[1] : offset_yx[1] + resized_hw[1]] = resized
    return canvas, Placement((height, width), resized_hw, offset_yx)


def _fit_cropped(image_rgb: np.ndarray, preprocess: Preprocess) -> Tuple[np.ndarray, Placement]:
    (height, width), (input_h, input_w) = image_rgb.shape[:2], preprocess.input_hw
    scale = max(input_h / height, input_w / width) / preprocess.crop_share
    resized_hw = (max(input_h, int(height * scale + 1e-6)), max(input_w, int(width * scale + 1e-6)))
    if resized_hw[0] * resized_hw[1] > MAX_RESIZED_PIXELS:
        raise ImageError(f"a picture of {height}x{width} is too long and thin to be cropped to {input_h}x{input_w}")
    top, left = (resized_hw[0] - input_h) // 2, (resized_hw[1] - input_w) // 2
    resized = cv2.resize(image_rgb, resized_hw[::-1], interpolation=INTERPOLATIONS[preprocess.interpolation])
    cropped = np.ascontiguousarray(resized[top : top + input_h, left : left + input_w])
    return cropped, Placement((height, width), resized_hw, (-top, -left))


def normalise(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """uint8 [H, W, 3] RGB to the network's float32 [1, 3, H, W]."""
    unit = pixels.astype(np.float32) / 255.0
    scaled = (unit - np.array(preprocess.mean, np.float32)) / np.array(preprocess.std, np.float32)
    ordered = scaled if preprocess.channels == "rgb" else scaled[:, :, ::-1]
    return np.ascontiguousarray(ordered.transpose(2, 0, 1)[None])


def to_input(image_rgb: np.ndarray, preprocess: Preprocess) -> Tuple[np.ndarray, Placement]:
    """`fit` then `normalise`: float32 [1, 3, input_h, input_w] and the placement."""
    pixels, placement = fit(image_rgb, preprocess)
    return normalise(pixels, preprocess), placement
