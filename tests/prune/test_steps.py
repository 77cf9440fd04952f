"""A pruning in several steps: what may be left after each, which one is kept, whose channels they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import pytest

from ppsplit.errors import ConfigError
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.prune import steps as module
from ppsplit.prune.allocate import InfeasibleError
from ppsplit.prune.choice import edge_groups
from ppsplit.prune.config import PruneConfig
from ppsplit.prune.photos import spread
from ppsplit.prune.plots import plot_steps
from ppsplit.prune.steps import Pruning
from ppsplit.train.listener import Listener

COSTS = {"macs": 100, "edge_macs": 50, "parameters": 10, "payload_elements": 0}


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """One ratio a group is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppsplit.prune.sensitivity.RATIOS", (0.5,))
        yield


class Told(Listener):
    """Remembers what was said and counted."""

    def __init__(self) -> None:
        self.lines: List[str] = []
        self.counts: Dict[str, Tuple[int, int]] = {}

    def counted(self, what: str, done: int, total: int) -> None:
        self.counts[what] = (done, total)

    def say(self, line: str) -> None:
        self.lines.append(line)


def ready(checkpoint: Path, photos: Path, output: Path, root: Optional[Path] = None, **chosen: Any) -> Pruning:
    """A pruning without fine-tuning."""
    small = {"probe_images": 2, "divisor": 4, "batch": 4, "tune_images": 0, "target_flops": "-20%"}
    labelled = {"root": root, "val_split": "val"} if root else {}
    config = PruneConfig(output=output, images=photos, **labelled, **{**small, **chosen})  # type: ignore[arg-type]
    return Pruning(config, checkpoint, Told())


@pytest.fixture(scope="module")
def two_steps(checkpoint: Path, photos: Path, quick: None, tmp_path_factory: pytest.TempPathFactory) -> Pruning:
    """A whole pruning in two steps; its rows are those that `run` gives again."""
    output = tmp_path_factory.mktemp("two") / "run"
    pruning = ready(checkpoint, photos, output, steps=2, target_flops="-40%")
    pruning.run()
    assert pruning.listener.lines == ["step 1 of 2", "step 2 of 2"]  # type: ignore[attr-defined]
    return pruning


def finished(rows: List[Dict[str, Any]], kept: int) -> List[Dict[str, Any]]:
    """As `run` gives them."""
    return [{**row, "kept": row["step"] == kept} for row in rows]


def rows_of(pruning: Pruning) -> List[Dict[str, Any]]:
    return json.loads((pruning.output / "steps.json").read_text())["rows"]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """The AP after each step, where steps change nothing."""
    aps: List[float] = []

    def step(self: Pruning, stage: Any, number: int) -> Any:
        return stage

    monkeypatch.setattr(Pruning, "_step", step)
    monkeypatch.setattr(Pruning, "_stage", lambda self, number: module._Stage(self.teacher, {}))
    monkeypatch.setattr(Pruning, "_row", lambda self, number, network: {"step": number, **COSTS, "ap": aps[number]})
    monkeypatch.setattr("ppsplit.prune.folder.plot_steps", lambda rows, picture: None)
    return aps


def test_budgets_grow_evenly(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    chosen = {"target": "edge", "target_flops": "-60%", "target_payload": "-30%", "steps": 3, "cut": "conv7"}
    chosen["divisor"] = 1
    pruning = ready(checkpoint, photos, tmp_path, **chosen)
    whole = pruning._row(0, pruning.teacher)
    for number, (macs, payload) in enumerate([(1, 1), (0.8, 0.9), (0.6, 0.8), (0.4, 0.7)]):
        edge, sent = pruning.choice.budgets(number)
        assert (edge.cost, sent.cost) == ("edge_macs", "payload_elements")
        assert edge.limit == pytest.approx(macs * whole["edge_macs"])
        assert sent.limit == pytest.approx(payload * whole["payload_elements"])


def test_two_steps(two_steps: Pruning) -> None:
    rows = rows_of(two_steps)
    shares = [row["macs"] / rows[0]["macs"] for row in rows]
    assert shares[0] == 1 and shares[1] <= 0.8 and shares[2] <= 0.6 < shares[1]
    assert [row["ap"] for row in rows] == [None] * 3
    assert (two_steps.output / "model.npz").read_bytes() == (two_steps.output / "step2" / "model.npz").read_bytes()


def test_channels_of_a_second_step_are_the_whole_networks(two_steps: Pruning, checkpoint: Path) -> None:
    whole = read_checkpoint(checkpoint).tensors
    kept = {number: two_steps.folder.read_start(number).kept for number in (1, 2)}
    for number, of_layer in kept.items():
        tensors = read_checkpoint(two_steps.output / f"step{number}" / "model.npz").tensors
        for name in (n for n in whole if n.endswith(".bn.weight")):  # no refitting changes it
            indices = of_layer.get(name[: -len(".bn.weight")], np.arange(len(whole[name])))
            np.testing.assert_array_equal(tensors[name], whole[name][indices])
    assert any(len(kept[2][name]) < len(indices) for name, indices in kept[1].items())  # some were pruned twice


def test_a_step_is_not_repeated(
    checkpoint: Path, photos: Path, tmp_path: Path, two_steps: Pruning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the second step's choice and its end."""
    run = tmp_path / "run"
    shutil.copytree(two_steps.output, run)
    shutil.copytree(two_steps.output.parent / ".sensitivity", tmp_path / ".sensitivity")
    values = json.loads((run / "steps.json").read_text())
    (run / "steps.json").write_text(json.dumps({**values, "rows": values["rows"][:2]}))
    (run / "model.npz").unlink()
    (run / "step2" / "start.npz").unlink()
    monkeypatch.setattr("ppsplit.prune.sensitivity._measured", None)  # all of it is in the cache
    resumed = ready(checkpoint, photos, run, steps=2, target_flops="-40%", resume=True)
    assert resumed.run() == finished(rows_of(two_steps), 2)
    assert resumed.listener.lines == ["step 2 of 2"]  # type: ignore[attr-defined]
    one, other = (dict(np.load(folder / "model.npz")) for folder in (two_steps.output, run))
    assert all(np.array_equal(array, other[name]) for name, array in one.items())


@pytest.mark.parametrize(
    ("aps", "limit", "measured", "kept"),
    [
        ((0.50, 0.45, 0.30), 25.0, 3, 2),
        ((0.50, 0.45, 0.30), 10.0, 3, 1),
        ((0.50, 0.45, 0.30), 3.0, 2, 0),  # the second step is not even tried
        ((0.50, 0.60, 0.55), 0.0, 3, 2),  # it became better
        ((0.50, 0.50, 0.49), 0.5, 3, 1),
    ],
)
def test_the_step_kept_with_a_limit_on_ap(
    checkpoint: Path,
    photos: Path,
    shapes: Path,
    tmp_path: Path,
    scored: List[float],
    aps: "tuple[float, ...]",
    limit: float,
    measured: int,
    kept: int,
) -> None:
    scored.extend(aps)
    pruning = ready(checkpoint, photos, tmp_path / "run", shapes, steps=2, max_ap_drop=limit)
    rows = pruning.run()
    assert [row["ap"] for row in rows] == list(aps[:measured])
    assert [row["step"] for row in rows if row["kept"]] == [kept]
    model = tmp_path / "run" / "model.npz"
    if kept:
        assert model.read_bytes() == (tmp_path / "run" / f"step{kept}" / "model.npz").read_bytes()
    else:
        assert not model.exists()
    again = ready(checkpoint, photos, tmp_path / "run", shapes, steps=2, max_ap_drop=limit, resume=True)
    assert again.run() == rows
    assert not any(line.startswith("step") for line in again.listener.lines)  # type: ignore[attr-defined]


def test_ap_is_measured_where_there_are_labels(checkpoint: Path, photos: Path, shapes: Path, tmp_path: Path) -> None:
    rows = ready(checkpoint, photos, tmp_path / "run", shapes, max_ap_drop=100.0, target_flops="-10%").run()
    assert all(0 <= row["ap"] <= 1 for row in rows) and rows[1]["kept"]
    sensed = json.loads((tmp_path / "run" / "step1" / "sensitivity.json").read_text())["rows"]
    assert sensed[0]["ap"] == rows[0]["ap"] and all(row["ap"] is not None for row in sensed)


def test_a_drop_is_in_points_and_from_the_whole_network(
    checkpoint: Path, photos: Path, tmp_path: Path, shapes: Path
) -> None:
    pruning = ready(checkpoint, photos, tmp_path, shapes, max_ap_drop=2.0)

    def last_within(*aps: float) -> int:
        return pruning._within_limit([{"step": step, "ap": ap} for step, ap in enumerate(aps)])

    assert last_within(0.5) == 0 and last_within(0.5, 0.481) == 1 and last_within(0.5, 0.479) == 0
    assert last_within(0.5, 0.49, 0.479) == 1
    assert last_within(0.5, 0.479, 0.49) == 0  # made with a larger limit: with this one it would have ended there


def test_no_limit_no_drop(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    rows = [{"step": 0, "ap": None}, {"step": 1, "ap": None}]
    assert ready(checkpoint, photos, tmp_path)._within_limit(rows) == 1


def test_another_limit_on_ap_goes_on_or_back(
    checkpoint: Path, photos: Path, shapes: Path, tmp_path: Path, scored: List[float]
) -> None:
    scored.extend((0.50, 0.45, 0.30))
    model = tmp_path / "run" / "model.npz"

    def kept(limit: Optional[float]) -> List[bool]:
        pruning = ready(checkpoint, photos, tmp_path / "run", shapes, steps=2, max_ap_drop=limit, resume=True)
        rows = [row["kept"] for row in pruning.run()]
        assert json.loads((tmp_path / "run" / "steps.json").read_text())["identity"]["max_ap_drop"] == limit
        return rows

    assert kept(3.0) == [True, False] and not model.exists()
    assert kept(10.0) == [False, True, False] and model.exists()  # the second step is made, and lost too much
    assert kept(25.0) == kept(None) == [False, False, True]
    assert kept(10.0) == [False, True, False]
    assert model.read_bytes() == (tmp_path / "run" / "step1" / "model.npz").read_bytes()
    assert kept(3.0) == [True, False, False] and not model.exists()


def test_a_step_begun_goes_on_with_another_limit(
    checkpoint: Path, photos: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"target_flops": "-10%", "tune_images": 8, "save_every": 1, "batch": 4}
    whole = ready(checkpoint, photos, tmp_path / "whole", shapes, max_ap_drop=90.0, **small)
    whole.run()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ppsplit.prune.steps.save_checkpoint", killed)
        begun = ready(checkpoint, photos, tmp_path / "run", shapes, max_ap_drop=90.0, **small)
        shutil.copytree(whole.output / "step1", begun.output / "step1")
        begun.run()
    assert (begun.output / "step1" / "state.npz").is_file()
    monkeypatch.setattr(Pruning, "_prune", None)  # neither is it pruned again
    resumed = ready(checkpoint, photos, tmp_path / "run", shapes, max_ap_drop=80.0, resume=True, **small)
    assert resumed.run() == finished(rows_of(whole), 1)


def test_more_steps_are_refused_with_a_way_on(two_steps: Pruning, checkpoint: Path, photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ready(checkpoint, photos, two_steps.output, steps=3, target_flops="-40%", resume=True)
    said = str(caught.value)
    assert "other settings (steps)" in said and "begun with --steps 2" in said
    assert f"give --weights {two_steps.output / 'model.npz'} and another --output" in said


def test_what_is_pruned_can_be_pruned_further(two_steps: Pruning, photos: Path, tmp_path: Path) -> None:
    rows = ready(two_steps.output / "model.npz", photos, tmp_path / "run", divisor=2).run()
    assert rows[0]["macs"] == rows_of(two_steps)[-1]["macs"] and rows[1]["macs"] <= 0.8 * rows[0]["macs"]


def test_progress_of_what_takes_long(checkpoint: Path, photos: Path, shapes: Path, tmp_path: Path) -> None:
    pruning = ready(checkpoint, photos, tmp_path / "run", shapes, target_flops="-10%")
    pruning.run()
    counts = pruning.listener.counts  # type: ignore[attr-defined]
    assert counts["refitting"] == (len(pruning.photos.refit),) * 2 and counts["AP"] == (4, 4)
    assert counts["sensitivity"][0] == counts["sensitivity"][1] > 0


def test_two_targets_measure_sensitivity_once(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(checkpoint, photos, tmp_path / "one").run()
    monkeypatch.setattr("ppsplit.prune.sensitivity._measured", None)
    edge = {"target": "edge", "target_flops": "-5%", "target_payload": "-0%"}
    for name, chosen in (("two", {"target_flops": "-30%"}), ("three", edge)):
        ready(checkpoint, photos, tmp_path / name, **chosen).run()
    one, two = (json.loads((tmp_path / n / "step1" / "sensitivity.json").read_text()) for n in ("one", "two"))
    assert one == two
    with pytest.raises(TypeError):  # by another criterion it is another one, and would be measured
        ready(checkpoint, photos, tmp_path / "four", criterion="l1").run()


def test_groups_of_the_edge() -> None:
    class Costs:
        def on_edge(self) -> List[str]:
            return ["a", "b"]

        def crossing(self) -> List[str]:
            return ["b", "c"]

    assert edge_groups(Costs()) == ["a", "b", "c"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, [*range(10)]), (99, [*range(10)])]
)
def test_photos_are_spread(count: int, chosen: List[int]) -> None:
    assert spread(list(range(10)), count) == chosen


def test_a_picture_of_the_steps(tmp_path: Path) -> None:
    rows = [{"step": 0, **COSTS, "ap": None}, {"step": 1, **COSTS, "macs": 60, "ap": None}]
    plot_steps(rows, tmp_path / "plots" / "steps.png")
    assert (tmp_path / "plots" / "steps.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_written_can_be_read_by_others(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    pruning = ready(checkpoint, photos, tmp_path / "run", ratios=("conv7=0.5",))
    pruning.run()
    values = json.loads((tmp_path / "run" / "steps.json").read_text())
    assert values["identity"] == pruning.identity and values["identity"]["ratios"] == ["conv7=0.5"]
    assert not (tmp_path / "run" / "step1" / "sensitivity.json").exists()  # nothing to weigh up


def test_a_later_step_that_cannot_be_had_ends_with_what_there_is(
    scored: List[float], checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored.extend([0.3, 0.3])

    def step(self: Pruning, stage: Any, number: int) -> Any:
        if number == 2:
            raise InfeasibleError("pruning cannot bring macs 12 to 11")
        return stage

    monkeypatch.setattr(Pruning, "_step", step)
    pruning = ready(checkpoint, photos, tmp_path / "run", steps=3, target_flops="-40%")
    rows = pruning.run()
    assert [row["kept"] for row in rows] == [False, True]
    assert (pruning.output / "model.npz").is_file()
    told = pruning.listener.lines  # type: ignore[attr-defined]
    assert told[-1] == "step 2 cannot be had, so step 1 is the last: pruning cannot bring macs 12 to 11"
