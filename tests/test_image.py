"""Images: reading hostile files, fitting, and the exact way back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.errors import ConfigError, DataError, ImageError
from ppsplit.image import Preprocess, decode_image, encode_jpeg, fit, list_images, normalise, read_image, to_input

side = st.integers(1, 300)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 half a JPEG"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="photo.jpg"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("mode", ["grey", "alpha", "16 bit"])
def test_every_kind_of_png_becomes_rgb(tmp_path: Path, mode: str) -> None:
    pixels = {
        "grey": np.full((4, 6), 100, np.uint8),
        "alpha": np.full((4, 6, 4), 100, np.uint8),
        "16 bit": np.full((4, 6, 3), 100 * 257, np.uint16),
    }[mode]
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    read = read_image(tmp_path / "a.png")
    assert (read.shape, read.dtype) == ((4, 6, 3), np.uint8)
    assert (np.abs(read.astype(int) - 100) <= 1).all()


def test_channels_are_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((2, 2, 3), (0, 0, 255), np.uint8))
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


def test_folders_list_images_only_and_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.png", "b.JPG"]
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "gone"):
        with pytest.raises(DataError):
            list_images(wrong)


@settings(deadline=None, max_examples=60)
@given(
    side, side, st.sampled_from([32, 64, 96]), st.sampled_from([32, 64, 128]), st.sampled_from(["letterbox", "stretch"])
)
def test_boxes_come_back_exactly(height: int, width: int, input_h: int, input_w: int, resize: str) -> None:
    preprocess = Preprocess((input_h, input_w), resize=resize)
    pixels, placement = fit(np.zeros((height, width, 3), np.uint8), preprocess)
    assert pixels.shape == (input_h, input_w, 3)
    boxes = np.float32([[0, 0, width, height], [width * 0.25, height * 0.5, width * 0.75, height]])
    inside = placement.to_input(boxes)
    assert (inside >= -1e-3).all() and (inside <= [input_w + 1e-3, input_h + 1e-3] * 2).all()
    np.testing.assert_allclose(placement.to_original(inside), boxes, atol=1e-3 * max(height, width))


@settings(deadline=None, max_examples=60)
@given(side, side)
def test_letterbox_touches_two_borders_and_keeps_the_ratio(height: int, width: int) -> None:
    _, placement = fit(np.zeros((height, width, 3), np.uint8), Preprocess((64, 96)))
    resized_h, resized_w = placement.resized_hw
    assert resized_h == 64 or resized_w == 96
    scale = min(64 / height, 96 / width)
    assert abs(resized_h - max(1, height * scale)) < 1 and abs(resized_w - max(1, width * scale)) < 1


def test_padding_is_centred_and_grey() -> None:
    pixels, placement = fit(np.zeros((10, 20, 3), np.uint8), Preprocess((40, 40)))
    assert placement.offset_yx == (10, 0)
    assert (pixels[:10] == 128).all() and (pixels[30:] == 128).all() and (pixels[10:30] == 0).all()


def test_boxes_are_clipped_to_the_image() -> None:
    _, placement = fit(np.zeros((10, 20, 3), np.uint8), Preprocess((40, 40)))
    np.testing.assert_array_equal(placement.to_original(np.float32([[-9, -9, 99, 99]])), [[0, 0, 20, 10]])


def test_normalise_is_its_formula() -> None:
    preprocess = Preprocess((1, 2), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    made = normalise(np.uint8([[[0, 51, 255], [255, 0, 102]]]), preprocess)
    expected = (np.float32([[[0, 0.2, 1], [1, 0, 0.4]]]) - preprocess.mean) / preprocess.std
    assert (made.shape, made.dtype, made.flags.c_contiguous) == ((1, 3, 1, 2), np.float32, True)
    np.testing.assert_allclose(made[0], expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
    assert to_input(np.zeros((3, 3, 3), np.uint8), preprocess)[0].shape == (1, 3, 1, 2)


def test_jpeg_round_trip_keeps_channel_order() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    assert np.abs(decode_image(encode_jpeg(image, 95)).astype(int) - image).max() <= 4


def test_preprocess_survives_json_and_refuses_nonsense() -> None:
    preprocess = Preprocess((32, 64), "stretch", 0.0, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    with pytest.raises(ConfigError, match="letterbox"):
        Preprocess((32, 32), resize="squash")
    with pytest.raises(ConfigError, match="std none of them 0"):
        Preprocess((32, 32), std=(1.0, 0.0, 1.0))
    with pytest.raises(ConfigError, match="positive"):
        Preprocess((0, 32))


def test_imagenets_centre_crop() -> None:
    """The shorter side to 256, the middle 224 of it: a picture of 512x1024 loses 16 and 144 pixels at each end."""
    ramp = np.repeat(np.arange(1024) // 4, 512).reshape(1024, 512).T.astype(np.uint8)
    image = np.repeat(ramp[:, :, None], 3, axis=2)
    pixels, placement = fit(image, Preprocess((224, 224), resize="crop", crop_share=0.875))
    assert pixels.shape == (224, 224, 3)
    assert (placement.resized_hw, placement.offset_yx) == ((256, 512), (-16, -144))
    assert pixels[0, 0, 0] == image[32, 288, 0] and pixels[-1, -1, 0] == image[479, 735, 0]
    corners = placement.to_original(np.array([[0, 0, 224, 224]], np.float32))
    assert corners.tolist() == [[288, 32, 736, 480]]


@settings(deadline=None, max_examples=60)
@given(height=side, width=side, input_h=side, input_w=side, share=st.floats(0.5, 1.0))
def test_cropping_fills_the_input_and_keeps_the_aspect(
    height: int, width: int, input_h: int, input_w: int, share: float
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    pixels, placement = fit(image, Preprocess((input_h, input_w), resize="crop", crop_share=share))
    assert pixels.shape == (input_h, input_w, 3)
    assert all(offset <= 0 and size + 2 * offset - n in (0, 1) for offset, size, n in zip(
        placement.offset_yx, placement.resized_hw, (input_h, input_w)
    ))  # fmt: skip
    scales = [resized / original for resized, original in zip(placement.resized_hw, (height, width))]
    assert abs(scales[0] - scales[1]) <= 1 / min(height, width) + 1e-6


def test_a_thread_of_a_picture_is_not_cropped() -> None:
    with pytest.raises(ImageError, match="too long and thin"):
        fit(np.zeros((2, 20_000, 3), np.uint8), Preprocess((224, 224), resize="crop"))


def test_a_crop_is_said_only_where_there_is_one() -> None:
    assert "crop_share" not in Preprocess((8, 8)).to_json()
    crop = Preprocess((8, 8), resize="crop", crop_share=0.875)
    assert Preprocess.from_json(crop.to_json()) == crop
    for wrong in ({"resize": "stretch", "crop_share": 0.5}, {"resize": "crop", "crop_share": 0.0}):
        with pytest.raises(ConfigError, match="crop_share"):
            Preprocess((8, 8), **wrong)  # type: ignore[arg-type]


def test_channels_in_the_other_order() -> None:
    pixels = np.uint8([[[0, 51, 255], [255, 0, 102]]])
    as_rgb, as_bgr = (normalise(pixels, Preprocess((1, 2), mean=(0.1, 0.2, 0.3), channels=c)) for c in ("rgb", "bgr"))
    np.testing.assert_array_equal(as_bgr, as_rgb[:, ::-1])
    with pytest.raises(ConfigError, match="channels must be one of rgb, bgr, not 'yuv'"):
        Preprocess((1, 2), channels="yuv")


def test_a_fingerprint_says_nothing_of_what_plays_no_part() -> None:
    assert set(Preprocess((1, 2)).to_json()) == {"input_hw", "resize", "pad_pixel", "mean", "std"}
    told = Preprocess((1, 2), resize="crop", channels="bgr", interpolation="cubic")
    assert Preprocess.from_json(told.to_json()) == told


def test_the_same_but_for_what_is_given() -> None:
    crop = Preprocess((1, 2), resize="crop", crop_share=0.875)
    assert crop.but() == crop and crop.but(resize="crop") == crop
    assert crop.but(resize="stretch", channels="bgr") == Preprocess((1, 2), "stretch", channels="bgr")
    assert Preprocess((1, 2)).but(resize="crop") == crop


def test_interpolations_differ_and_nonsense_is_refused() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    linear, cubic = (fit(image, Preprocess((20, 20), interpolation=kind))[0] for kind in ("linear", "cubic"))
    assert (linear != cubic).any()
    with pytest.raises(ConfigError, match="interpolation must be one of linear, cubic, not 'area'"):
        Preprocess((1, 2), interpolation="area")
