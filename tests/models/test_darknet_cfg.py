"""Reading, writing and judging darknet's .cfg files."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.errors import ConfigError, WeightsError
from ppsplit.models import build_model
from ppsplit.models.darknet_cfg import Section, format_cfg, parse_cfg
from ppsplit.models.darknet_layout import check_cfg, darknet_sections
from tests.models.darknet_original import CFG_FOLDER

WORD = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
OPTIONS = st.dictionaries(WORD, st.text(string.ascii_letters + string.digits + ".,-=", max_size=12), max_size=4)
SECTIONS = st.lists(st.builds(Section, WORD, OPTIONS), max_size=5)


@given(SECTIONS, OPTIONS)
def test_written_cfg_reads_back(sections, net):
    everything = [Section("net", net), *sections]
    assert parse_cfg(format_cfg(everything)) == everything


def test_comments_white_space_and_repeated_keys():
    sections = parse_cfg("# a\n[net]\n width = 4 16 \n;b\n\n[ yolo ]\nmask=1, 2,3,\nmask=9\n")
    assert sections == [Section("net", {"width": "416"}), Section("yolo", {"mask": "1,2,3,"})]
    assert sections[1].line == 6
    assert sections[1].integers("mask") == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin with"),
        ("[convolutional]\n", "does not begin with"),
        ("width=4\n", "line 1"),
        ("[net]\nwidth 416\n", "line 2"),
        ("[net\n", "line 1"),
        ("[net]\n=3\n", "line 2"),
    ],
)
def test_what_is_no_cfg(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_cfg(text)


@pytest.mark.parametrize("value", ["", "three", "1,2", "1.5"])
def test_an_option_that_is_no_number(value):
    section = parse_cfg(f"[net]\n[convolutional]\nsize={value}\n")[1]
    with pytest.raises(ConfigError, match=r"\[convolutional\] in line 2.*size="):
        section.integer("size")


def test_every_packaged_cfg_is_read():
    if not CFG_FOLDER.is_dir():
        pytest.skip("darknet's cfg files are not installed")
    for path in CFG_FOLDER.glob("*.cfg"):
        assert len(parse_cfg(path.read_text())) > 1, path


@pytest.mark.parametrize("name", ["yolov3_tiny", "yolov3_darknet53"])
def test_own_description_fits(name):
    network = build_model(name, num_classes=2, width=0.125)
    check_cfg(parse_cfg(format_cfg(darknet_sections(network))), network)


def packaged(name: str) -> str:
    path = CFG_FOLDER / name
    if not path.exists():
        pytest.skip(f"darknet's {name} is not installed")
    return path.read_text()


def test_the_packaged_yolov3_cfg_is_our_network():
    check_cfg(parse_cfg(packaged("yolov3.cfg")), build_model("yolov3_darknet53"))


def test_the_packaged_tiny_cfg_is_our_network_but_for_the_known_trap():
    text = packaged("yolov3-tiny.cfg")
    network = build_model("yolov3_tiny")
    with pytest.raises(WeightsError, match=r"layer 23.*mask \(0, 1, 2\).*known trap"):
        check_cfg(parse_cfg(text), network)
    check_cfg(parse_cfg(text.replace("mask = 0,1,2", "mask = 1,2,3")), network)


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        (1, "filters", "17", r"layer 0 .*filters 17, expected 4"),
        (1, "activation", "relu", "activation relu"),
        (1, "batch_normalize", "0", "batch_normalize 0"),
        (2, "stride", "1", r"layer 1 .*stride 1, expected 2"),
        (18, "layers", "-3", r"layers \(14,\), expected \(13,\)"),
        (17, "anchors", "1,2", "anchors"),
        (17, "classes", "80", "classes 80, expected 2"),
    ],
)
def test_a_cfg_that_differs_in_one_option(section, key, value, says):
    network = build_model("yolov3_tiny", num_classes=2, width=0.125)
    sections = darknet_sections(network)
    sections[section].options[key] = value
    with pytest.raises(WeightsError, match=says) as caught:
        check_cfg(sections, network)
    assert "known trap" not in str(caught.value)


def test_a_cfg_of_another_network():
    with pytest.raises(WeightsError, match="24 layers.*107"):
        check_cfg(darknet_sections(build_model("yolov3_tiny", width=0.1)), build_model("yolov3_darknet53", width=0.1))
