"""A pruned network goes where a whole one goes: frozen, cut, certified; each cut of it computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppsplit.data.sample_photos import sample_photos
from ppsplit.export.graph import distinct_cuts
from ppsplit.export.network import freeze_model
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.image import Preprocess
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.prune.channels import Pruner
from ppsplit.prune.costs import CostModel
from tests.export.test_every_cut import largest_error
from tests.models.seeded import random_image

from .conftest import SIDE


@pytest.fixture(scope="module")
def pruned(tiny_pruner: Pruner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with about two thirds of every group."""
    kept = tiny_pruner.kept({name: -(-group.channels * 2 // 3) for name, group in tiny_pruner.groups.items()})
    path = tmp_path_factory.mktemp("pruned") / "model.npz"
    save_checkpoint(tiny_pruner.pruned(kept), path, Preprocess((SIDE, SIDE)))
    return path


def test_a_bundle_of_a_pruned_network(pruned: Path, tmp_path: Path, tiny_pruner: Pruner) -> None:
    photos = tuple(sample_photos()[:1])
    frozen = freeze_model("yolov3_tiny", pruned)
    bundle = export_bundle(
        frozen, SplitPlan(("pool4", "conv7"), (), (), False, photos, photos), tmp_path / "bundle", lambda line: None
    )
    assert [len(cut.tensors) for cut in bundle.manifest.cuts] == [1, 2]
    assert all(cut.certificates for cut in bundle.manifest.cuts)
    sent = sum(spec.elements_per_image for spec in bundle.manifest.cuts[1].tensors)
    channels = {name: -(-group.channels * 2 // 3) for name, group in tiny_pruner.groups.items()}
    model = CostModel(tiny_pruner.network, tiny_pruner.groups, (SIDE, SIDE), "conv7")
    assert sent == model.of(channels).payload_elements < model.of({}).payload_elements


@pytest.mark.slow
def test_every_cut_of_a_pruned_network(pruned: Path, tmp_path: Path) -> None:
    frozen = freeze_model("yolov3_tiny", pruned)
    cuts = distinct_cuts(frozen.program.graph(), frozen.stages)
    assert len(cuts) > 40
    image = random_image(0, SIDE, SIDE)[None].astype(np.float32)
    assert len(largest_error(frozen, cuts, image, tmp_path)) == 2 * len(cuts)
