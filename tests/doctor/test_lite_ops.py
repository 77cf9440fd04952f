"""Paddle Lite's own list, asked and read."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ppsplit.doctor.lite_ops import TARGETS, lite_ops, parse_ops
from ppsplit.errors import InferenceRuntimeError

PRINTED = """version v2.13-rc
Supported OPs on ' kX86':
     OP_name  kHost  kUnk  kX86
         abs      Y
         bmm            Y
      conv2d                  Y
   box_coder      Y           Y

"""


def test_the_list_is_read_by_its_columns() -> None:
    ops = parse_ops(PRINTED)
    assert ops.version == "v2.13-rc"
    assert ops.with_kernel == {"abs", "conv2d", "box_coder"} and ops.without_kernel == {"bmm"}


@pytest.mark.parametrize("text", ["", "Segmentation fault", "version v2.13-rc\n"])
def test_what_is_no_list_is_an_error(text: str) -> None:
    with pytest.raises(InferenceRuntimeError, match="printed no list"):
        parse_ops(text)


@pytest.mark.parametrize("target", TARGETS)
def test_the_installed_paddle_lite_answers(target: str) -> None:
    ops = lite_ops(target)
    assert ops.version.startswith("v2.13") and len(ops.with_kernel) > 200
    assert {"conv2d", "relu6", "nearest_interp_v2", "multiclass_nms3", "feed", "fetch"} <= ops.with_kernel
    assert "bmm" in ops.without_kernel and "erfinv" not in ops.with_kernel
    assert ("softsign" in ops.with_kernel) == (target == "x86")


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = lite_ops("x86")
    monkeypatch.setattr(subprocess, "run", None)
    assert lite_ops("x86") is first


def test_without_the_wheel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **settings: Any) -> Any:
        return subprocess.CompletedProcess(arguments, 1, "", "ModuleNotFoundError: No module named 'paddlelite'")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(InferenceRuntimeError, match="No module named.*pip install paddlelite"):
        lite_ops.__wrapped__("arm")
