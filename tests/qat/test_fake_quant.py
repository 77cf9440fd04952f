"""What learns rounds exactly as what is exported."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import numpy as np
import pytest

from ppsplit.data.augment import Augmentation
from ppsplit.data.image_folder import unlabelled_set
from ppsplit.distill import gradients
from ppsplit.distill.finetune import Distillation, FineTuning
from ppsplit.export.simulate import output_error
from ppsplit.image import Preprocess
from ppsplit.paddle_first import paddle
from ppsplit.qat import fake_quant
from ppsplit.qat.fake_quant import LOG_CLIPS, Quantizers, add_clips, clips_of
from ppsplit.qat.points import Frozen
from ppsplit.qat.training import quantized_copy
from ppsplit.quant.uniform import for_weights, symmetric
from ppsplit.train.listener import Listener
from tests.models.seeded import random_image
from tests.prune.conftest import SIDE, narrow, state

IMAGES = [random_image(seed, SIDE, SIDE)[None] for seed in range(4)]


def computed(student: paddle.nn.Layer, dress: Quantizers, image: np.ndarray) -> List[np.ndarray]:
    """What a student's twin gives in the static program that it learns by."""
    program, scope = paddle.static.Program(), paddle.static.Scope()
    with gradients._static(), paddle.utils.unique_name.guard(), paddle.static.scope_guard(scope):
        with paddle.static.program_guard(program, paddle.static.Program()):
            twin = gradients._twin(student)
            tensors = twin.state_dict()
            dress(twin)
            tensors[LOG_CLIPS] = getattr(twin, LOG_CLIPS)
            found = twin(paddle.static.data("image", image.shape))
        for name, tensor in student.state_dict().items():
            scope.var(tensors[name].name).get_tensor().set(tensor.numpy(), paddle.CPUPlace())
        executor = paddle.static.Executor(paddle.CPUPlace())
        outputs: List[np.ndarray] = executor.run(program, feed={"image": image}, fetch_list=found)
    return outputs


@pytest.mark.parametrize(
    ("name", "cut", "bits"),
    [
        ("yolov3_tiny", None, 8),
        ("yolov3_tiny", None, 4),
        ("yolov3_tiny", "pool4", 4),
        ("yolov3_tiny", "conv7", 8),
        ("yolov3_darknet53", "stage3.block8", 4),
        pytest.param("yolov3_darknet53", None, 8, marks=pytest.mark.slow),
    ],
)
def test_it_computes_what_is_exported(name: str, cut: Optional[str], bits: int) -> None:
    network = narrow(name, 0.1 if name == "yolov3_tiny" else 0.05)
    frozen = Frozen(network, (SIDE, SIDE), cut)
    clips = frozen.calibrated(IMAGES, "aciq")
    student = quantized_copy(network, frozen.points, clips)
    np.testing.assert_allclose(clips_of(student), clips, rtol=1e-5)
    exported = frozen.outputs(IMAGES, clips_of(student), bits)
    learning = [computed(student, Quantizers(frozen.points.readers, bits), image) for image in IMAGES]
    rounding = output_error(exported, frozen.outputs(IMAGES))
    # a value on the edge between two codes may fall to either side, since BN is folded in another order
    assert 0 < output_error(learning, exported) < 1e-3 * rounding


def gradient_of(build: "object", *arrays: np.ndarray) -> List[np.ndarray]:
    """The value, and the gradients of its sum for each array."""
    with gradients._static():
        program = paddle.static.Program()
        with paddle.static.program_guard(program, paddle.static.Program()):
            given = [paddle.static.data(f"x{i}", array.shape) for i, array in enumerate(arrays)]
            for tensor in given:
                tensor.stop_gradient = False
            value = build(*given)  # type: ignore[operator]
            wanted = [value, *paddle.static.gradients([value.sum()], given)]
        feed = {f"x{i}": array for i, array in enumerate(arrays)}
        found: List[np.ndarray] = paddle.static.Executor(paddle.CPUPlace()).run(program, feed=feed, fetch_list=wanted)
    return found


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_activations_and_their_gradients(bits: int) -> None:
    x = np.random.default_rng(bits).normal(0, 2, (1, 2, 5, 5)).astype(np.float32)
    clip = np.array([2.5], np.float32)
    value, of_x, of_clip = gradient_of(lambda x, c: fake_quant._rounded(x, c, bits), x, clip)
    np.testing.assert_allclose(value, symmetric(2.5, bits).fake(x), rtol=1e-6)
    inside = np.abs(x) < 2.5
    np.testing.assert_array_equal(of_x, inside)  # straight through, and none where it saturates
    # d/d clip of clip * round(x / clip): the sign where it saturates, else the rounding error as a share of clip
    np.testing.assert_allclose(of_clip, [np.where(inside, (value - x) / 2.5, np.sign(x)).sum()], rtol=1e-4)


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_and_their_gradients(bits: int) -> None:
    weight = np.random.default_rng(bits).normal(size=(3, 2, 3, 3)).astype(np.float32)
    weight[1] = 0  # a dead channel
    value, gradient = gradient_of(lambda w: fake_quant._rounded_weights(w, bits), weight)
    np.testing.assert_allclose(value, for_weights(weight, bits).fake(weight), rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.ones_like(weight))


def test_learning_at_4_bits_gets_nearer_on_photos_held_out(photos: Path, tmp_path: Path) -> None:
    network = narrow()
    frozen = Frozen(network, (SIDE, SIDE), None)
    clips = frozen.calibrated(IMAGES, "aciq")
    student = quantized_copy(network, frozen.points, clips)
    plan = FineTuning(
        images=240,
        batch=4,
        input_sizes=(SIDE,),
        lr=0.001,
        warmup_steps=2,
        feature_weight=10.0,
        clip_norm=100.0,
        ema_decay=0.9,
        augmentation=Augmentation(0.5, 0.3, 0.2, 0.3),
        seed=0,
        workers=1,
        save_every=1000,
    )
    preprocess, dress = Preprocess((SIDE, SIDE)), Quantizers(frozen.points.readers, 4)
    data = unlabelled_set(photos)
    learnt = Distillation(student, network, {}, data, preprocess, plan, tmp_path, {}, Listener(), dress).run()
    plain = narrow()
    for name, tensor in plain.state_dict().items():
        tensor.set_value(learnt.state_dict()[name])
    exact = frozen.outputs(IMAGES)
    before = output_error(frozen.outputs(IMAGES, clips, 4), exact)
    changed = Frozen(plain, (SIDE, SIDE), None)
    after = output_error(changed.outputs(IMAGES, clips_of(learnt), 4), exact)
    assert after < 0.8 * before


def test_clips_are_kept_as_logarithms() -> None:
    network = narrow()
    before = state(network)
    add_clips(network, np.array([0.5, 40.0]))
    assert set(state(network)) - set(before) == {LOG_CLIPS}
    np.testing.assert_allclose(clips_of(network), [0.5, 40.0], rtol=1e-6)
