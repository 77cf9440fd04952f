"""Drive the original darknet program (Debian's libdarknet.so) and write down what it computed.

Run as a script, in a process of its own: the library prints, and ends the process when it is unhappy.

    python darknet_original.py CFG WEIGHTS OUT.npz --heads 16 23 (--image PHOTO | --input X.npy)

OUT.npz holds `input` float32 [3, h, w], `head0` ... float32 [c, h, w] (the convolution before each yolo layer,
whose output darknet does not touch), and after its NMS `boxes` float32 [N, 4] (x1, y1, x2, y2), `scores` [N],
`class_ids` [N], best first, one row for every class of a box above the threshold.

Boxes are in pixels of the network's input: on the way back to the photo darknet takes (416 - 277) / 2 for 69.5
although it pasted the photo at 69, half a pixel that is not the network's doing.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_void_p
from pathlib import Path
from typing import Tuple

import numpy as np

LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
CFG_FOLDER = Path("/usr/share/darknet/cfg")


class Box(Structure):
    """Centre and size."""

    _fields_ = [("x", c_float), ("y", c_float), ("w", c_float), ("h", c_float)]


class Detection(Structure):
    """darknet.h, `detection`."""

    _fields_ = [
        ("bbox", Box),
        ("classes", c_int),
        ("prob", POINTER(c_float)),
        ("mask", POINTER(c_float)),
        ("objectness", c_float),
        ("sort_class", c_int),
    ]


class Image(Structure):
    """darknet.h, `image`: planes of float in 0..1."""

    _fields_ = [("w", c_int), ("h", c_int), ("c", c_int), ("data", POINTER(c_float))]


def load_library() -> ctypes.CDLL:
    """The library, with the signatures used here."""
    library = ctypes.CDLL(str(LIBRARY))
    signatures = {
        "load_network": (c_void_p, [c_char_p, c_char_p, c_int]),
        "set_batch_network": (None, [c_void_p, c_int]),
        "network_width": (c_int, [c_void_p]),
        "network_height": (c_int, [c_void_p]),
        "load_image_color": (Image, [c_char_p, c_int, c_int]),
        "letterbox_image": (Image, [Image, c_int, c_int]),
        "network_predict": (POINTER(c_float), [c_void_p, POINTER(c_float)]),
        "get_network_image_layer": (Image, [c_void_p, c_int]),
        "get_network_boxes": (
            POINTER(Detection),
            [c_void_p, c_int, c_int, c_float, c_float, POINTER(c_int), c_int, POINTER(c_int)],
        ),
        "do_nms_sort": (None, [POINTER(Detection), c_int, c_int, c_float]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def as_array(image: Image) -> np.ndarray:
    """float32 [c, h, w], a copy."""
    return np.ctypeslib.as_array(image.data, (image.c, image.h, image.w)).copy()


def boxes_of(
    library: ctypes.CDLL, network: int, threshold: float, iou: float
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4], scores [N], class ids [N] after darknet's own NMS."""
    count = c_int(0)
    width, height = library.network_width(network), library.network_height(network)
    found = library.get_network_boxes(network, width, height, threshold, 0.5, None, 1, ctypes.byref(count))
    classes = found[0].classes if count.value else 0
    library.do_nms_sort(found, count.value, classes, iou)
    rows = []
    for detection in found[: count.value]:
        box = detection.bbox
        left, top, right, bottom = box.x - box.w / 2, box.y - box.h / 2, box.x + box.w / 2, box.y + box.h / 2
        corners = (left * width, top * height, right * width, bottom * height)
        rows += [
            (*corners, detection.prob[class_id], class_id)
            for class_id in range(classes)
            if detection.prob[class_id] > 0
        ]
    rows = np.array(sorted(rows, key=lambda row: -row[4]), np.float64).reshape(-1, 6)
    return rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cfg")
    parser.add_argument("weights")
    parser.add_argument("out")
    parser.add_argument("--heads", type=int, nargs="+", required=True, help="indices of the yolo layers")
    parser.add_argument("--image")
    parser.add_argument("--input")
    parser.add_argument("--threshold", type=float, default=0.25)
    parser.add_argument("--iou", type=float, default=0.45)
    options = parser.parse_args()

    library = load_library()
    network = library.load_network(os.fsencode(options.cfg), os.fsencode(options.weights), 0)
    library.set_batch_network(network, 1)
    if options.image:
        photo = library.load_image_color(os.fsencode(options.image), 0, 0)
        size = (library.network_width(network), library.network_height(network))
        values = as_array(library.letterbox_image(photo, *size))
    else:
        values = np.load(options.input)
    values = np.ascontiguousarray(values, np.float32)
    library.network_predict(network, values.ctypes.data_as(POINTER(c_float)))
    heads = {
        f"head{i}": as_array(library.get_network_image_layer(network, yolo - 1)) for i, yolo in enumerate(options.heads)
    }
    boxes, scores, class_ids = boxes_of(library, network, options.threshold, options.iou)
    np.savez(options.out, input=values, boxes=boxes, scores=scores, class_ids=class_ids, **heads)


if __name__ == "__main__":
    main()
