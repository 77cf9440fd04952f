"""The by-hand way: a file of features to detections."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.cloud.tail import run_tail
from ppsplit.errors import BundleError, WireError
from ppsplit.wire import TensorMessage, pack
from tests.cloud.requests import frame


def test_a_saved_frame_is_finished(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "features.ppsf"
    file.write_bytes(frame(tiny_bundle))
    result = run_tail(tiny_bundle, file)
    assert result.cut == "deep"
    assert result.detections is not None
    assert len(result.detections) == 1


def test_files_that_are_no_features_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "features.ppsf"
    with pytest.raises(WireError, match="cannot read"):
        run_tail(tiny_bundle, file)
    file.write_bytes(b"nothing")
    with pytest.raises(WireError, match="not a ppsplit frame"):
        run_tail(tiny_bundle, file)
    file.write_bytes(pack(TensorMessage("b", "fp32", ())))
    with pytest.raises(WireError, match="expected features"):
        run_tail(tiny_bundle, file)
    with pytest.raises(BundleError):
        run_tail(tmp_path, file)
