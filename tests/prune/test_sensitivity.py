"""What pruning one group costs: measured once, kept, and measured again only where something else was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from ppsplit.image import Preprocess
from ppsplit.prune import sensitivity as module
from ppsplit.prune.channels import Pruner
from ppsplit.prune.compensate import compensate, readers, watch
from ppsplit.prune.plots import plot_sensitivity
from ppsplit.prune.sensitivity import Probe, losses, sensitivity
from tests.models.seeded import random_image

from .conftest import SIDE

NAMES = ("conv4", "neck")
WANTED = [
    ("conv4", 12),
    ("conv4", 8),
    ("conv4", 4),
    ("neck", 24),
    ("neck", 20),
    ("neck", 16),
    ("neck", 12),
    ("neck", 8),
]
Measured = List[Tuple[str, int]]
Measure = Callable[..., Tuple[List[Dict[str, Any]], Measured]]


@pytest.fixture(scope="module")
def probe() -> Probe:
    images = [random_image(seed, SIDE, SIDE)[None] for seed in range(5)]  # more than go at once
    return Probe(images, None, Preprocess((SIDE, SIDE)))


@pytest.fixture
def measure(probe: Probe, tiny_pruner: Pruner, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Runs `sensitivity`; its rows, and what was measured rather than read."""
    seen = watch(tiny_pruner.network, readers(tiny_pruner.groups), probe.images)
    really = module._measured

    def run(cache: Path, identity: Any = "one", names: Tuple[str, ...] = NAMES, stop_after: int = 99, **more: Any):  # type: ignore[no-untyped-def]
        measured: Measured = []

        def counted(pruner: Pruner, patches: Any, name: str, count: int, *rest: Any) -> Dict[str, Any]:
            if len(measured) == stop_after:
                raise KeyboardInterrupt
            measured.append((name, count))
            return really(pruner, patches, name, count, *rest)

        monkeypatch.setattr(module, "_measured", counted)
        try:
            rows = sensitivity(tiny_pruner, seen, names, probe, 4, cache, {"of": identity, "size": (1, 2)}, **more)
        except KeyboardInterrupt:
            rows = []
        return rows, measured

    return run


def test_each_group_at_each_ratio(measure: Measure, probe: Probe, tiny_pruner: Pruner, tmp_path: Path) -> None:
    told: List[Tuple[int, int]] = []
    rows, measured = measure(tmp_path / "s.json", progress=lambda *counts: told.append(counts))
    assert measured == WANTED and told == [(i, 8) for i in range(1, 9)]
    assert rows[0] == {"group": "", "channels": 0, "kept": 0, "distance": 0.0, "ap": None}
    assert [(row["group"], row["kept"]) for row in rows[1:]] == WANTED
    assert {row["group"]: row["channels"] for row in rows[1:]} == {"conv4": 13, "neck": 26}
    by_group = losses(rows)
    assert {name: [kept for kept, _ in points] for name, points in by_group.items()} == {
        name: [kept for group, kept in WANTED if group == name] for name in NAMES
    }
    for points in by_group.values():
        assert points[-1][1] > points[0][1] > 0
    plot_sensitivity(rows, tmp_path / "plots" / "s.png")
    assert (tmp_path / "plots" / "s.png").read_bytes().startswith(b"\x89PNG")


def test_a_distance_is_of_the_refitted_network(
    measure: Measure, probe: Probe, tiny_pruner: Pruner, tmp_path: Path
) -> None:
    rows, _ = measure(tmp_path / "s.json")
    whole = probe.heads(tiny_pruner.network)
    kept = tiny_pruner.kept({"neck": 12})
    network = tiny_pruner.pruned(kept)
    plain = probe.distance(network, whole)
    compensate(network, tiny_pruner.groups, kept, watch(tiny_pruner.network, readers(tiny_pruner.groups), probe.images))
    assert probe.distance(tiny_pruner.network, whole) == pytest.approx(0, abs=1e-4)
    found = next(row["distance"] for row in rows if (row["group"], row["kept"]) == ("neck", 12))
    assert found == pytest.approx(probe.distance(network, whole), rel=1e-5) and found < plain


def test_interrupted_it_goes_on(measure: Measure, tmp_path: Path) -> None:
    whole, _ = measure(tmp_path / "whole.json")
    cache = tmp_path / "s.json"
    _, first = measure(cache, stop_after=3)
    rows, second = measure(cache)
    assert first + second == WANTED and len(first) == 3
    assert rows == whole
    assert measure(cache) == (whole, [])


def test_more_groups_and_other_groups(measure: Measure, tmp_path: Path) -> None:
    cache = tmp_path / "s.json"
    measure(cache, names=("conv4",))
    _, measured = measure(cache)
    assert measured == WANTED[3:]
    rows, measured = measure(cache, names=("neck",))
    assert measured == [] and {row["group"] for row in rows} == {"", "neck"}


def test_of_something_else_it_begins_anew(measure: Measure, tmp_path: Path) -> None:
    cache = tmp_path / "s.json"
    measure(cache)
    assert measure(cache, identity="other")[1] == WANTED
    assert measure(cache, identity="other")[1] == []
    assert measure(cache)[1] == WANTED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "\x00",
        lambda text: json.dumps({"identity": json.loads(text)["identity"]}),
        lambda text: json.dumps({**json.loads(text), "rows": None}),
    ],
)
def test_a_damaged_cache_is_measured_again(measure: Measure, tmp_path: Path, spoil: Callable[[str], str]) -> None:
    cache = tmp_path / "s.json"
    measure(cache, names=("conv4",))
    cache.write_text(spoil(cache.read_text()))
    assert measure(cache, names=("conv4",))[1] == WANTED[:3]


def test_nothing_to_measure(measure: Measure, tmp_path: Path) -> None:
    rows, measured = measure(tmp_path / "s.json", names=("conv1",))  # 4 channels, and 4 at the least
    assert measured == [] and [row["group"] for row in rows] == [""]
