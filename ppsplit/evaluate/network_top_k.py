"""Top-1 and top-5 of a classifier as it stands, not frozen."""

from __future__ import annotations

from typing import Callable, Dict, List

import numpy as np

from ppsplit.classification import Classification
from ppsplit.data.class_folder import ClassFolder
from ppsplit.decode import build_decoder
from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.metrics.top_k import MOST_COUNTED, top_k
from ppsplit.models import decode_spec
from ppsplit.paddle_first import paddle

Progress = Callable[[int, int], None]


def network_top_k(
    network: paddle.nn.Layer,
    folder: ClassFolder,
    preprocess: Preprocess,
    batch: int = 8,
    progress: Progress = lambda done, total: None,
) -> Dict[str, float]:
    """As `top_k`, of `network` on a set.

    Args:
        network: with `params`; is put into evaluation mode.
        batch: images at a time.
        progress: called with images done, and how many there are.

    Raises:
        ImageError: an image cannot be read.
    """
    network.eval()
    decoder = build_decoder(decode_spec(network.params), preprocess.input_hw)
    found: List[Classification] = []
    for start in range(0, len(folder.images), batch):
        images = folder.images[start : start + batch]
        inputs = np.concatenate([to_input(read_image(image.path), preprocess)[0] for image in images])
        with paddle.no_grad():
            outputs = [output.numpy() for output in network(paddle.to_tensor(inputs))]
        found += decoder(outputs, score_threshold=0.0, max_detections=MOST_COUNTED)
        progress(len(found), len(folder.images))
    return top_k(found, [image.class_id for image in folder.images])
