"""Every classifier, narrow, cut at its stages: certified, its heads in Paddle Lite, its classes those of the whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.edge.client import LocalClient
from ppsplit.edge.head import Head, load_part
from ppsplit.evaluate.whole import whole_client
from ppsplit.export.network import freeze_model
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.image import read_image
from ppsplit.models import CLASSIFIERS, build_model, model_family
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.wire import Options
from tests.models.seeded import randomise

INPUT_HW = (64, 96)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, ...]":
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (90, 130 + 40 * seed, 3), np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), cv2.blur(pixels, (5, 5)))
    return tuple(sorted(folder.iterdir()))


@pytest.mark.parametrize("name", [family.name for family in CLASSIFIERS])
def test_cut_at_every_stage(name: str, photos: "tuple[Path, ...]", tmp_path: Path) -> None:
    network = build_model(name, num_classes=6, width=0.125)
    randomise(network, seed=4)
    network.class_names = ("a", "b", "c", "d", "e", "f")
    save_checkpoint(network, tmp_path / "narrow.npz")
    cuts = model_family(name).reference_cuts
    frozen = freeze_model(name, tmp_path / "narrow.npz", INPUT_HW)
    plan = SplitPlan(cuts, (), ("x86",), False, photos, photos)
    bundle = export_bundle(frozen, plan, tmp_path / "bundle", lambda step: None)

    assert [cut.name for cut in bundle.manifest.cuts] == list(cuts)
    for cut in bundle.manifest.cuts:
        assert {certificate.runtime for certificate in cut.certificates} == {"paddle", "lite"}, cut.name
        assert all(certificate.max_relative_error <= 1e-4 for certificate in cut.certificates)
    images = [read_image(path) for path in photos]
    options = Options(score_threshold=0.0, max_detections=6)
    expected = whole_client(bundle, options).infer_batch(images)
    assert all(result.classification is not None and len(result.classification) == 6 for result in expected)
    check(bundle, cuts[1], options, images, expected)


def check(bundle: Bundle, name: str, options: Options, images: list, expected: list) -> None:
    """The head in Paddle Lite and the tail in Paddle give the whole's classes."""
    cut = bundle.cut(name)
    tail = load_part(bundle, cut, "tail", "paddle", None, None, 1, None)
    found = LocalClient(Head(bundle, cut, "lite", "fp32", "x86", 1, None), tail, options).infer_batch(images)
    for ours, theirs in zip(found, expected):
        assert ours.detections is None and ours.outputs is None
        scores, whole = (one.classification.scores[one.classification.class_ids.argsort()] for one in (ours, theirs))
        np.testing.assert_allclose(scores, whole, atol=1e-4)
