"""From a function's signature to a strict command line."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple

import pytest

from ppsplit.cli import VERBS, load
from ppsplit.cli.options import Names, parse
from ppsplit.errors import ConfigError


def export(
    bundle: Path,
    /,
    model: str = "yolov3_tiny",
    input_hw: Optional[Tuple[int, int]] = None,
    timeout_s: float = 1.5,
    prune: bool = False,
    cut: Names = [],  # noqa: B006  only read
    bits: List[int] = [8],  # noqa: B006
    quant: Optional[Literal["int8", "int16"]] = None,
    sizes: Tuple[int, ...] = (416,),
    shares: Optional[Tuple[float, ...]] = None,
) -> None:
    """Export something.

    Args:
        bundle: Where.
        cut: Names of cuts.
    """


def values(*argv: str) -> Dict[str, Any]:
    return dict(parse(export, argv).arguments)


def config(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults() -> None:
    assert values("b") == {
        "bundle": Path("b"),
        "model": "yolov3_tiny",
        "input_hw": None,
        "timeout_s": 1.5,
        "prune": False,
        "cut": [],
        "bits": [8],
        "quant": None,
        "sizes": (416,),
        "shares": None,
    }


@pytest.mark.parametrize(
    ("argv", "name", "expected"),
    [
        (["--timeout-s", "3"], "timeout_s", 3.0),
        (["--timeout_s=3"], "timeout_s", 3.0),
        (["--prune"], "prune", True),
        (["--prune", "--cut", "A"], "prune", True),
        (["--prune", "false"], "prune", False),
        (["--prune=true"], "prune", True),
        (["--cut", "A"], "cut", ["A"]),
        (["--cut", "A,conv2d_1.w_0, 12"], "cut", ["A", "conv2d_1.w_0", "12"]),
        (["--cut", "[A, B]"], "cut", ["A", "B"]),
        (["--cut", ""], "cut", []),
        (["--bits", "4,8"], "bits", [4, 8]),
        (["--input-hw", "320,416"], "input_hw", (320, 416)),
        (["--model", "5"], "model", "5"),
        (["--quant", "int8"], "quant", "int8"),
        (["--sizes", "320,416"], "sizes", (320, 416)),
        (["--shares", "0.5"], "shares", (0.5,)),
    ],
)
def test_command_line(argv: List[str], name: str, expected: Any) -> None:
    assert values("b", *argv)[name] == expected


def test_a_config_is_typed(tmp_path: Path) -> None:
    path = config(
        tmp_path, "model: x\ninput_hw: [320, 416]\nprune: true\ncut: [pool4, b]\nbundle: here\ntimeout-s: 2\n"
    )
    got = values("--config", path)
    assert got["timeout_s"] == 2.0  # dashes as on the command line will do
    assert (got["bundle"], got["model"], got["input_hw"]) == (Path("here"), "x", (320, 416))
    assert (got["prune"], got["cut"]) == (True, ["pool4", "b"])


@pytest.mark.parametrize("config_first", [True, False])
def test_the_command_line_wins_over_a_config(config_first: bool, tmp_path: Path) -> None:
    with_config = ["--config", config(tmp_path, "model: x\ntimeout_s: 9\n")]
    with_model = ["--model", "y"]
    argv = with_config + with_model if config_first else with_model + with_config
    got = values("b", *argv)
    assert (got["model"], got["timeout_s"]) == ("y", 9.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modle: x\n", "there is no key 'modle'; did you mean model?"),
        ("timeout_z: 3\n", "there is no key 'timeout_z'; did you mean timeout_s?"),
        ("zzz: 3\n", "there is no key 'zzz'; known: bits, bundle, cut"),
        ("model: 5\n", "model must be text, not '5'"),
        ("timeout_s: soon\n", "timeout_s must be a number, not 'soon'"),
        ("prune: 3\n", "prune must be true or false, not '3'"),
        ("cut: A\n", "cut must be a list of texts, not 'A'"),
        ("input_hw: [320]\n", "input_hw must be 2 whole numbers"),
        ("sizes: [320, x]\n", "sizes must be a list of whole numbers, not"),
        ("shares: x\n", "shares must be a list of numbers, not 'x'"),
        ("quant: int9\n", "quant must be one of int8, int16, not 'int9'"),
        ("model: [\n", "Problems parsing config"),
        ("- model\n", "Unexpected config"),
    ],
)
def test_a_wrong_config_is_one_clear_line(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        values("b", "--config", config(tmp_path, text))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "config.yaml is empty"),
        (b"# nothing\n\n", "is empty"),
        (b"\xff\xfe\x00", "config.yaml is not text in UTF-8"),
    ],
)
def test_a_config_without_keys_is_one_clear_line(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        values("b", "--config", str(path))


def test_help_shows_no_option_that_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(export, ["--help"])
    assert "--cut+" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"no option --cut\+"):
        values("b", "--cut+", "A")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["b", "--modle", "x"], "there is no option --modle; did you mean --model?"),
        (["b", "--timeout_z=3"], "there is no option --timeout_z; did you mean --timeout-s?"),
        (["b", "--timeout-s", "soon"], "timeout_s must be a number, not 'soon'"),
        (["b", "--model"], "--model needs a value"),
        (["b", "--model", "--prune"], "--model needs a value"),
        (["b", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["b", "c"], "unrecognized arguments: c"),
        ([], "required: bundle"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(argv: List[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        values(*argv)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if not verb.reads_argv])
def test_every_parameter_of_every_verb_is_typed_and_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = load(name)
    with pytest.raises(SystemExit):
        parse(function, ["--help"])
    assert capsys.readouterr().out
    documented = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:
        assert f"\n    {parameter}: " in documented, f"{name} does not say what {parameter} is"


EXPORT_CONFIGS = [  # a config's first line says what it is for; training's have a test of their own
    path
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    if "tools/export_split.py" in path.read_text().splitlines()[0]
]


@pytest.mark.parametrize("path", EXPORT_CONFIGS, ids=lambda p: p.stem)
def test_the_configs_we_ship_are_valid(path: Path) -> None:
    assert parse(load("export-split"), ["--config", str(path)]).arguments["model"] == path.stem
