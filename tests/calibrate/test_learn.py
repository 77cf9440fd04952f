"""`ppsplit calibrate` on a real small network: the bundle it leaves, served and spoken to; and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.calibrate.gradients import TailGradients
from ppsplit.calibrate.learn import held_out
from ppsplit.cli import main
from ppsplit.codec import Codec
from ppsplit.edge.client import EdgeClient
from ppsplit.edge.head import Head
from ppsplit.edge.link import Link
from ppsplit.image import read_image
from tests.tiny_bundle import serving, write_photos


def test_the_manifest_says_what_was_learnt(learned_bundle: Path, tiny_bundle: Path) -> None:
    before, after = Bundle.open(tiny_bundle).manifest, Bundle.open(learned_bundle).manifest
    learned = after.cuts[0].learned
    assert learned is not None and before.cuts[0].learned is None
    assert before.fingerprint != after.fingerprint
    assert set(after.files) - set(before.files) == {learned.tables}
    assert (learned.images, learned.version) == (12, 2)
    curve = {point.quality: point for point in learned.curve}
    assert list(curve) == sorted(curve) and learned.quality in curve
    assert curve[18].coded_bytes < curve[50].coded_bytes < curve[82].coded_bytes
    assert curve[18].score_kl > curve[82].score_kl >= 0
    assert curve[learned.quality].score_kl <= 0.35


def test_a_bundle_without_a_learned_codec_is_written_as_it_always_was(tiny_bundle: Path) -> None:
    assert "learned" not in (tiny_bundle / "manifest.json").read_text()


def test_split_with_the_learned_codec_over_a_real_server(learned_bundle: Path, noise_photos: Path) -> None:
    bundle = Bundle.open(learned_bundle)
    images = [read_image(path) for path in sorted(noise_photos.iterdir())[:2]]
    head = Head(bundle, bundle.cut("deep"), "paddle")
    with serving(learned_bundle) as server:
        exact = EdgeClient(head, Link(server.url), "fp32").infer_batch(images)
        sizes: List[int] = []
        for quality in (20, 60, 100):
            codec = Codec(bundle, head.cut, "feature", quality)
            found = EdgeClient(head, Link(server.url), codec=codec).infer_batch(images)
            sizes.append(found[0].payload_bytes)
        assert sizes == sorted(set(sizes)) and sizes[-1] < exact[0].payload_bytes
        for one, other in zip(found, exact):
            assert one.detections is not None and other.detections is not None and len(other.detections)
            best = [np.sort(detections.scores)[::-1][:3] for detections in (one.detections, other.detections)]
            np.testing.assert_allclose(*best, atol=0.05)  # the others lie at the threshold


def test_the_clients_command_line(learned_bundle: Path, noise_photos: Path, tmp_path: Path) -> None:
    base = ["client", "--bundle", str(learned_bundle), "--input", str(noise_photos / "0.png"), "--runtime", "paddle"]
    sizes = {}
    for name, options in {
        "own": [],
        "worst": ["--quality", "1"],
        "best": ["--quality", "100"],
        "target": ["--target-bytes", "400"],
    }.items():
        file = tmp_path / name
        assert main([*base, "--codec", "feature", *options, "--save-features", str(file)]) == 0
        sizes[name] = file.stat().st_size
        assert main(["tail", str(file), "--bundle", str(learned_bundle)]) == 0
    assert sizes["worst"] < sizes["own"] < sizes["best"]
    assert sizes["worst"] < sizes["target"] <= 400 + 300


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--codec", "feature", "--quality", "0"], "1 to 100"),
        (["--codec", "feature", "--target-bytes", "0"], "at least 1"),
        (["--encoding", "uint8", "--quality", "50"], "'mosaic', not of 'uint8'"),
        (["--codec", "feature", "--cut", "stem"], "ppsplit calibrate"),
    ],
)
def test_wishes_that_make_no_sense(learned_bundle, noise_photos, capsys, options: List[str], expected: str) -> None:
    base = ["client", "--bundle", str(learned_bundle), "--input", str(noise_photos), "--runtime", "paddle"]
    assert main([*base, *options, "--save-features", "never"]) == 1
    assert expected in capsys.readouterr().err


def test_calibrating_again_leaves_one_file_of_tables(learned_bundle: Path, noise_photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    shutil.copytree(learned_bundle, root)
    assert (
        main(["calibrate", str(root), "--images", str(noise_photos), "--count", "9", "--json", str(tmp_path / "c")])
        == 0
    )
    assert len(list(root.rglob("codec-*.npz"))) == 1
    assert not list(root.rglob("*.partial"))
    rows = json.loads((tmp_path / "c").read_text())["rows"]
    assert [row["quality"] for row in rows if row["chosen"]] == [Bundle.open(root).cut().learned.quality]


def test_a_family_without_scores_learns_all_directions(raw_bundle: Path, noise_photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    shutil.copytree(raw_bundle, root)
    assert main(["calibrate", str(root), "--images", str(noise_photos), "--count", "12"]) == 0
    learned = Bundle.open(root).cut().learned
    assert learned is not None and learned.quality == 50
    assert all(point.score_kl is None for point in learned.curve)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cut", "output"], "nothing to learn"),
        (["--cut", "nowhere"], "no cut"),
        (["--count", "3"], "8 to 512"),
        (["--count", "0"], "at least one"),
        (["--target-kl", "0"], "above 0"),
        (["--images", "/nowhere"], "cannot calibrate"),
    ],
)
def test_what_is_refused_changes_nothing(tiny_bundle, noise_photos, capsys, options: List[str], expected: str) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in tiny_bundle.rglob("*"))
    assert main(["calibrate", str(tiny_bundle), "--images", str(noise_photos), "--count", "12", *options]) == 1
    assert expected in capsys.readouterr().err
    assert sorted((path, path.stat().st_mtime_ns) for path in tiny_bundle.rglob("*")) == before


def test_photos_of_one_colour_are_refused(tiny_bundle: Path, tmp_path: Path, capsys) -> None:
    import cv2

    for index in range(10):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((20, 30, 3), 90, np.uint8))
    assert main(["calibrate", str(tiny_bundle), "--images", str(tmp_path), "--count", "8"]) == 1
    assert "single value" in capsys.readouterr().err


def test_gradients_against_differences(tiny_bundle: Path) -> None:
    """The tail is linear in pieces, so two runs of it close by give the directional derivative."""
    from ppsplit.bundle import TAIL
    from ppsplit.runtime import load_program, run_part

    bundle = Bundle.open(tiny_bundle)
    cut = bundle.cut("deep")
    program = bundle.program(cut, TAIL, "paddle")
    tail, name, output = load_program(bundle, program), cut.tensors[0].name, bundle.manifest.outputs[0].name
    rng = np.random.default_rng(0)
    shape = [1, *cut.tensors[0].shape[1:]]
    at, step = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    near = [at - np.float32(1e-3) * step, at + np.float32(1e-3) * step]
    values = [run_part(tail, {name: x}, [output])[output].astype(np.float64) for x in near]
    weights = rng.standard_normal(values[0].shape).astype(np.float32)
    prefix = Path(str(bundle.path(program.files["model"])).replace(".pdmodel", ""))
    gradient = TailGradients(prefix, [name])({name: at}, {output: weights})[name]
    expected = ((values[1] - values[0]) * weights).sum() / 2e-3
    assert (gradient.astype(np.float64) * step).sum() == pytest.approx(expected, rel=0.02)


def test_gradients_through_reshaping_whose_second_output_was_clipped(tmp_path: Path) -> None:
    """As a program is saved, and as other exporters write it: the gradient needs what nothing else reads."""
    from ppsplit.export.program import static_mode
    from ppsplit.paddle_first import paddle

    program, startup = paddle.static.Program(), paddle.static.Program()
    with static_mode(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [1, 2, 3, 4])
        three = paddle.static.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(3.0))
        out = paddle.reshape(paddle.transpose(x, [0, 2, 3, 1]), [1, 12, 2]) * three
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        paddle.static.save_inference_model(str(tmp_path / "p"), [x], [out], executor, program=program)
    gradients = TailGradients(tmp_path / "p", ["x"])
    (output,) = gradients._frozen.fetch_names
    weights = np.arange(24, dtype=np.float32).reshape(1, 12, 2)
    found = gradients({"x": np.zeros((1, 2, 3, 4), np.float32)}, {output: weights})["x"]
    np.testing.assert_allclose(found, 3 * weights.reshape(1, 3, 4, 2).transpose(0, 3, 1, 2))


def test_photos_judged_on_are_not_those_learnt_from(tmp_path: Path) -> None:
    paths = sorted(write_photos(tmp_path, 40).iterdir())
    for count in (8, 24, 39, 40, 500):
        learnt_from, judged = held_out(paths, count)
        assert learnt_from and judged and not set(learnt_from) & set(judged)
