"""Operating points: those of a bundle that are worth moving among, best first."""

from __future__ import annotations

from pathlib import Path

from ppsplit.bundle import Bundle
from ppsplit.edge.client import EdgeClient
from ppsplit.edge.head import Head
from ppsplit.edge.points import adaptive_points, make_point
from ppsplit.image import read_image


def test_all_cuts_and_encodings_of_a_plain_bundle_the_largest_first(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    heads = [Head(bundle, cut, "paddle") for cut in bundle.manifest.cuts]
    points = adaptive_points(bundle, heads)
    assert {point.name for point in points} == {
        f"{cut.name}/{encoding}" for cut in bundle.manifest.cuts for encoding in ("uint8", "uint4")
    }
    expected = [point.expected_bytes for point in points]
    assert expected == sorted(expected, reverse=True)


def test_a_calibrated_cut_adds_qualities_and_expects_what_they_take(learned_bundle: Path, noise_photos: Path) -> None:
    bundle = Bundle.open(learned_bundle)
    head = Head(bundle, bundle.cut("deep"), "paddle")
    points = adaptive_points(bundle, [head])
    learned = [point for point in points if "feature" in point.name]
    assert 2 <= len(learned) <= 4
    image = read_image(sorted(noise_photos.iterdir())[0])
    sent = [len(EdgeClient(head, None, codec=point.codec).make_frame([image])[0]) for point in learned]
    assert sent == sorted(sent, reverse=True)
    plain = make_point(bundle, head, "fp32")
    assert plain.name == "deep/fp32" and plain.expected_bytes == 4 * 16 * 8 * 12
