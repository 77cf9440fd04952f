"""A bundle's learned codec: observe photos, fit tables, measure the curve, and put all of it into the bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Bundle, Cut, LearnedCoding, write_manifest
from ppsplit.calibrate.curve import Judge, Judged, chosen_quality
from ppsplit.calibrate.fit import fit_tables
from ppsplit.calibrate.observe import observe_cut
from ppsplit.codec.tables import MIDDLE, VERSION, to_bytes
from ppsplit.decode.scores import knows_scores
from ppsplit.errors import CalibrationError
from ppsplit.files import sha256_of, write_bytes_atomically

CURVE_QUALITIES = (18, 34, 42, 50, 58, 66, 82)
LEAST_PHOTOS, MOST_PHOTOS = 8, 512
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LearningPlan:
    """What to learn from.

    Attributes:
        inputs: of the network, float32 [1, 3, H, W] each, LEAST_PHOTOS to MOST_PHOTOS.
        judged: other photos, for the curve.
        target_kl: the mean divergence, in nats, that the bundle's own quality may cost, on other photos, too.

    Raises:
        CalibrationError: too few or too many photos, or no divergence.
    """

    inputs: Sequence[np.ndarray]
    judged: Judged
    target_kl: float

    def __post_init__(self) -> None:
        if not LEAST_PHOTOS <= len(self.inputs) <= MOST_PHOTOS:
            raise CalibrationError(
                f"{len(self.inputs)} photos to learn from; give {LEAST_PHOTOS} to {MOST_PHOTOS}, some 256 are plenty"
            )
        if not self.judged.inputs:
            raise CalibrationError("no photos are left to measure the curve on; give more")
        if not self.target_kl > 0:
            raise CalibrationError(f"the target divergence is {self.target_kl}; expected nats above 0")


def learn_codec(bundle: Bundle, cut_name: Optional[str], plan: LearningPlan, progress: Progress) -> Bundle:
    """The bundle with tables for one of its cuts, in its place; its fingerprint is a new one.

    The old manifest stays valid until the new one is written.

    Raises:
        CalibrationError: the photos say nothing, or nothing of the cut can be coded.
        BundleError, InferenceRuntimeError, CodecError, OSError: as where they come from.
    """
    cut = bundle.cut(cut_name)
    tables = fit_tables(observe_cut(bundle, cut, plan.inputs, progress), progress)
    judge, found = Judge(bundle, cut, plan.judged), []
    for number, quality in enumerate(CURVE_QUALITIES, 1):
        progress(f"curve, quality {quality}", number, len(CURVE_QUALITIES))
        found.append(judge.point(tables, quality))
    quality = MIDDLE
    if knows_scores(bundle.manifest.decode):
        quality = chosen_quality(judge, tables, found, plan.target_kl)
    data = to_bytes(tables)
    path = f"{_folder(bundle, cut)}/codec-{hashlib.sha256(data).hexdigest()[:12]}.npz"
    learned = LearnedCoding(
        tables=path,
        version=VERSION,
        quality=quality,
        images=len(plan.inputs),
        curve=tuple(sorted((measured.point for measured in found), key=lambda point: point.quality)),
        curve_images=len(plan.judged.inputs),
        ap_unsplit=judge.ap_unsplit(),
    )
    return _written(bundle, cut, learned, data)


def _folder(bundle: Bundle, cut: Cut) -> str:
    """Where the cut's programs lie; a name of its own where it has none."""
    files = [path for program in cut.programs for path in program.files.values() if "/" in path]
    if files:
        return files[0].rsplit("/", 1)[0]
    return f"codec-{re.sub(r'[^A-Za-z0-9.]+', '-', cut.name)[:40]}"


def _written(bundle: Bundle, cut: Cut, learned: LearnedCoding, data: bytes) -> Bundle:
    files = dict(bundle.manifest.files)
    written = write_bytes_atomically(bundle.root / learned.tables, data)
    outdated = cut.learned.tables if cut.learned is not None else learned.tables
    files.pop(outdated, None)
    files[learned.tables] = sha256_of(written)
    cuts = tuple(dataclasses.replace(c, learned=learned) if c.name == cut.name else c for c in bundle.manifest.cuts)
    manifest = dataclasses.replace(bundle.manifest, cuts=cuts, files=dict(sorted(files.items())))
    write_manifest(bundle.root, manifest)
    if outdated != learned.tables:
        (bundle.root / outdated).unlink(missing_ok=True)
    return Bundle.open(bundle.root)


def held_out(photos: Sequence[Path], count: int) -> Tuple[List[Path], List[Path]]:
    """Photos to learn from and, where there are no others, to judge on: `count` evenly, and of the rest an eighth."""
    chosen = [photos[index] for index in np.unique(np.linspace(0, len(photos) - 1, count).round().astype(int))]
    rest = [path for path in photos if path not in set(chosen)]
    judged = rest[:: max(1, len(rest) // max(8, count // 4))][: max(8, count // 4)]
    if not judged:
        judged, chosen = chosen[::8], [path for index, path in enumerate(chosen) if index % 8]
    return chosen, judged
