"""The client on a machine that has Python 3.8, the edge extra and Paddle Lite, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from tests.tiny_bundle import serving

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("ppsplit", "pyproject.toml", "README.md", "LICENSE")
CLOSURE = {"msgpack", "numpy", "opencv-python-headless", "paddlelite", "ppsplit", "urllib3", "zstandard"}
BUILT_IN = {"pip", "setuptools"}
FORBIDDEN = {"paddle", "flask", "yaml", "pycocotools", "matplotlib", "jsonargparse", "rich", "pickle5", "skimage"}
NO_NETWORK = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
names = []
for room in ("edge", "codec", "wire", "decode"):
    package = importlib.import_module("ppsplit." + room)
    names += [package.__name__] + [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "file": importlib.import_module("ppsplit").__file__,
                  "loaded": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def run(*command: Any, **options: Any) -> "subprocess.CompletedProcess[str]":
    # what PYTHONPATH names here, a board does not have
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, **options)


def works(python: str) -> bool:
    """Whether it runs and is 3.8: a pyenv shim may be there and not run."""
    code = "import ensurepip, ssl, sys, venv; sys.exit(sys.version_info[:2] != (3, 8))"
    try:
        return run(python, "-c", code).returncode == 0
    except OSError:
        return False


def candidates() -> Iterator[str]:
    yield "python3.8"
    for root in (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv"):
        if root:
            yield from (str(path) for path in sorted(Path(root).glob("versions/3.8*/bin/python")))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's Python, with the edge extra of this tree and Paddle Lite."""
    python38 = next((python for python in candidates() if works(python)), None)
    if python38 is None:
        pytest.skip("no working Python 3.8 on PATH or under pyenv")
    folder = tmp_path_factory.mktemp("board")
    for name in SOURCES:  # a copy: building leaves files beside the sources
        source, target = ROOT / name, folder / "source" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    assert run(python38, "-m", "venv", folder / "venv").returncode == 0
    python = folder / "venv" / "bin" / "python"
    pip = run(python, "-m", "pip", "install", f"{folder / 'source'}[edge]", "paddlelite==2.13rc0")
    if pip.returncode and any(name in pip.stderr for name in NO_NETWORK):
        pytest.skip("the package registry cannot be reached")
    assert pip.returncode == 0, pip.stderr
    return python


def test_it_has_nothing_but_the_edge(bare_python: Path) -> None:
    listed = json.loads(run(bare_python, "-m", "pip", "list", "--format", "json").stdout)
    assert {package["name"].lower().replace("_", "-") for package in listed} - BUILT_IN == CLOSURE
    assert run(bare_python, "-m", "pip", "check").returncode == 0


def test_everything_the_edge_has_is_imported_there(bare_python: Path, tmp_path: Path) -> None:
    result = run(bare_python, "-c", IMPORT_ALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert {"ppsplit.edge.__main__", "ppsplit.codec", "ppsplit.wire", "ppsplit.decode"} <= set(told["imported"])
    assert not Path(told["file"]).is_relative_to(ROOT)
    assert FORBIDDEN & set(told["loaded"]) == set()


@pytest.mark.parametrize("arguments", [["-m", "ppsplit.edge"], ["-m", "ppsplit", "client"]], ids=["edge", "verb"])
def test_no_server_is_one_line(arguments: List[str], bare_python: Path, tiny_yolo_bundle: Path, tmp_path: Path) -> None:
    options = ("--server", "http://127.0.0.1:1", "--retries", 0, "--timeout", 2, "--output", tmp_path / "out")
    result = run(bare_python, *arguments, "--bundle", tiny_yolo_bundle, "--input", coffee(), *options, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_client_finds_the_cup(precision: str, bare_python: Path, tiny_yolo_bundle: Path, tmp_path: Path) -> None:
    options = (
        "--runtime",
        "lite",
        "--precision",
        precision,
        "--output",
        tmp_path / "out",
        "--json",
        tmp_path / "r.json",
    )
    with serving(tiny_yolo_bundle) as server:
        command = ("-m", "ppsplit.edge", "--bundle", tiny_yolo_bundle, "--server", server.url, "--input", coffee())
        result = run(bare_python, *command, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    scores = {found["class_name"]: found["score"] for found in report["images"][0]["detections"]}
    assert scores.get("cup", 0) > 0.5
    assert report["images"][0]["payload_bytes"] > 1000 and report["runtime"] == "lite"
    assert (tmp_path / "out" / "coffee.png").is_file()


def coffee() -> Path:
    from ppsplit.data.sample_photos import sample_photos

    return next(path for path in sample_photos() if path.name == "coffee.png")
