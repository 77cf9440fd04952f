"""Drawing, reporting, reading and the progress bar."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.detections import Detections
from ppsplit.edge import report
from ppsplit.edge.answer import EdgeResult
from ppsplit.edge.draw import class_colour, draw_detections
from ppsplit.edge.progress import ProgressBar
from ppsplit.edge.report import ImageRecord, build_report, peak_rss_bytes, summary_lines
from ppsplit.edge.sources import Photo, in_batches, read_photos
from ppsplit.edge.timing import STAGES, StageTimes
from ppsplit.errors import DataError, ImageError
from tests.tiny_bundle import write_photos


def found(*boxes: Any) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes, np.float32).reshape(count, 4), np.full(count, 0.5, np.float32), np.arange(count))


def test_nothing_found_draws_nothing_and_the_original_is_left_alone() -> None:
    image = np.full((50, 60, 3), 7, np.uint8)
    np.testing.assert_array_equal(draw_detections(image, Detections.empty(), ()), image)
    drawn = draw_detections(image, found([5, 20, 40, 45]), ["cat"])
    assert (image == 7).all()
    assert (drawn[20:23, 20] == class_colour(0)).all(axis=-1).any()


@pytest.mark.parametrize("hw", [(1, 1), (8, 300), (40, 40), (1500, 2000)])
@pytest.mark.parametrize("box", [[0, 0, 1e4, 1e4], [-50, -50, -10, -10], [0, 0, 0, 0]])
def test_boxes_anywhere_on_pictures_of_any_size(hw: Any, box: List[float]) -> None:
    image = np.zeros((*hw, 3), np.uint8)
    drawn = draw_detections(image, found(box, box), ["a name that is longer than the picture is wide"])
    assert drawn.shape == image.shape


def test_labels_stay_inside_and_grow_with_the_picture() -> None:
    for scale in (1, 4):
        image = np.zeros((400 * scale, 400 * scale, 3), np.uint8)
        corner = [390.0 * scale, 0, 399 * scale, 20 * scale]
        plate = (draw_detections(image, found(corner), ["cat"]) == class_colour(0)).all(axis=-1)
        rows = np.flatnonzero(plate.any(axis=1))
        assert plate[:, : 380 * scale].any()  # moved left, so that it can be read
        assert rows.max() >= 10 * scale


def test_colours_of_neighbouring_classes_are_far_apart() -> None:
    colours = np.array([class_colour(i) for i in range(80)], int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    assert (apart[np.arange(79), np.arange(79) + 1] > 120).all()
    assert len({tuple(c) for c in colours}) == 80


def record(name: str, payload_bytes: int, *heads_ms: float) -> ImageRecord:
    rounds = [{**dict.fromkeys(STAGES, 1.0), "head": head_ms} for head_ms in heads_ms]
    return ImageRecord(name, EdgeResult((10, 20), found(), None, rounds[-1], payload_bytes, 5), rounds)


def test_the_summary_is_medians_mean_and_a_percentile_that_occurred() -> None:
    records = [record(str(i), 100 + i, 5.0, 2.0, 100.0) for i in range(1, 21)]
    built = build_report({"bundle": "b"}, records, ["bad.png"], ())
    summary = built["summary"]
    assert summary["times_ms"]["head"] == 5.0
    assert summary["times_ms"]["total"] == 5.0 + len(STAGES) - 1
    assert (summary["payload_bytes_mean"], summary["payload_bytes_p95"]) == (110.5, 119)
    assert (summary["images"], summary["skipped"]) == (20, ["bad.png"])
    widths = {len(line) for line in summary_lines(summary)[2:]}
    assert len(widths) == 1


def test_a_single_image_has_a_summary_too() -> None:
    assert build_report({}, [record("a", 7, 1.0)], [], ())["summary"]["payload_bytes_p95"] == 7


def test_peak_memory_grows_and_has_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    before = peak_rss_bytes()
    large = np.ones(200_000_000, np.uint8)
    with_large = peak_rss_bytes()
    del large
    # the most there ever was, not what is left; the kernel adds up each thread's pages a little late
    assert peak_rss_bytes() + 2**20 >= with_large >= before > 10_000_000
    monkeypatch.setattr(report, "open", lambda *_, **__: io.StringIO("Name: x\n"), raising=False)
    assert peak_rss_bytes() > 10_000_000


def test_batches_keep_order_and_the_rest() -> None:
    photos = [Photo(Path(str(i)), np.zeros((1, 1, 3), np.uint8)) for i in range(5)]
    sizes = [[photo.path.name for photo in batch] for batch in in_batches(iter(photos), 2)]
    assert sizes == [["0", "1"], ["2", "3"], ["4"]]
    assert list(in_batches(iter([]), 2)) == []


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    paths = sorted(write_photos(tmp_path).iterdir())
    paths[1].write_bytes(b"")
    skipped: List[ImageError] = []
    assert [photo.path.name for photo in read_photos(paths, skipped.append)] == ["0.png", "2.png"]
    assert "1.png" in str(skipped[0])
    with pytest.raises(ImageError, match=r"1\.png"):
        list(read_photos(paths[1:2], skipped.append))
    with pytest.raises(DataError, match="none of the 2"):
        list(read_photos([paths[1], tmp_path / "gone.png"], skipped.append))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_on_terminals_only() -> None:
    for stream, total, shown in ((Terminal(), 4, True), (io.StringIO(), 4, False), (Terminal(), 1, False)):
        bar = ProgressBar(total, stream)
        bar.advance(1, "a.png")
        bar.say("skipped: b.png")
        bar.close()
        bar.close()
        assert ("1/4 a.png" in stream.getvalue()) == shown
        assert stream.getvalue().count("skipped: b.png\n") == 1


def test_stages_are_shared_evenly() -> None:
    times = StageTimes()
    times.add("tail", 9)
    with times.measure("head"):
        pass
    assert times.per_image(3)["tail"] == 3
    assert list(times.per_image(1)) == list(STAGES)
