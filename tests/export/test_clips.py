"""Learnt clip values beside a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.errors import QuantizationError
from ppsplit.export.clips import CLIPS_FILE, read_clips, write_clips


def test_clips_come_back(tmp_path: Path) -> None:
    write_clips(tmp_path / "model.npz", {"image": 1.0, "pool1": 38})
    assert read_clips(tmp_path / "model.npz") == {"image": 1.0, "pool1": 38.0}


def test_a_checkpoint_without_clips_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="carries no activation clips.*--quant ptq"):
        read_clips(tmp_path / "model.npz")
    with pytest.raises(QuantizationError, match="needs --weights"):
        read_clips(None)


HEAD = '{"format": "ppsplit-activation-clips", "format_version": 1, "clips": '


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{}", HEAD, HEAD + "[]}", HEAD + '{"a": 0}}', HEAD + '{"a": -1}}', HEAD + '{"a": NaN}}'),
        *(HEAD + '{"a": "1"}}', HEAD + '{"a": true}}', HEAD.replace("1,", "2,") + "{}}", "[" * 100_000),
    ],
)
def test_damaged_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / CLIPS_FILE).write_text(text)
    with pytest.raises(QuantizationError):
        read_clips(tmp_path / "model.npz")
