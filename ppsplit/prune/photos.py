"""The photos that a pruning looks at before it learns: those that layers are refitted on, and those it is judged by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.data.sample import read_or_skip
from ppsplit.data.training_set import TrainingSet
from ppsplit.distill.photos import spread
from ppsplit.errors import DataError
from ppsplit.files import sha256_of
from ppsplit.image import Preprocess, to_input

SENSED = 16  # photos that sensitivity is measured on; others than those that layers are refitted on, which flatter it


@dataclass(frozen=True)
class ProbePhotos:
    """Photos as the network's input, float32 [1, 3, H, W] each.

    Attributes:
        refit: layers are refitted on them.
        sensed: sensitivity is measured on them; the same one where there is a single photo.
        sha256: of all these files, hex; which of the two each is for, too.
    """

    refit: Sequence[np.ndarray]
    sensed: Sequence[np.ndarray]
    sha256: str


def probe_photos(data: TrainingSet, count: int, preprocess: Preprocess) -> ProbePhotos:
    """`count` photos to refit on and `SENSED` more, both spread evenly over the set; of fewer, at most half are sensed.

    What cannot be read is left out and named in `data.problems`.

    Raises:
        DataError: none can be read.
    """
    chosen = spread(data.images, count + SENSED)
    read: List[Tuple[str, np.ndarray]] = []
    for image in chosen:
        sample = read_or_skip(image, data.problems)
        if sample is not None:
            read.append((sha256_of(image.path), to_input(sample.image_rgb, preprocess)[0]))
    if not read:
        raise DataError(
            f"none of the {len(chosen)} photos to refit layers on can be read: {'; '.join(data.problems.lines())}; "
            "give other photos with --images"
        )
    sensed = set(spread(range(len(read)), min(SENSED, max(1, len(read) // 2))))
    refit = [position for position in range(len(read)) if position not in sensed] or [0]
    named = [[read[position][0] for position in positions] for positions in (refit, sorted(sensed))]
    digest = hashlib.sha256(str(named).encode()).hexdigest()
    return ProbePhotos([read[i][1] for i in refit], [read[i][1] for i in sorted(sensed)], digest)
