"""`.pt` and `.pth`: what is in them comes out, and nothing in them is executed."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppsplit.errors import UnsafePickleError, WeightsError
from ppsplit.zoo.weight_file import is_torch_file, read_weight_file
from tests.zoo.torch_files import Call, Model, Stored, dumps, tensor

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights"


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<i8", "|u1", "<f8"])
def test_a_table_of_tensors(tmp_path, dtype):
    model, array = Model(), np.arange(12).reshape(3, 4).astype(dtype)
    table = collections.OrderedDict(w=model.tensor(array), scalar=model.tensor(array[0, :1].reshape(())))
    for path in (
        model.write_zip(tmp_path / "a.pth", table),
        model.write_stream(tmp_path / "b.pth", table, array.itemsize),
    ):
        assert is_torch_file(path)
        found = read_weight_file(path).arrays
        assert list(found) == ["w", "scalar"] and found["scalar"].shape == ()
        assert found["w"].dtype == array.dtype and (found["w"] == array).all()


def test_bfloat16_becomes_float32(tmp_path):
    model, values = Model(), np.float32([1.0, -2.5, 0.0, 3.140625])
    upper = (values.view("<u4") >> 16).astype("<u2")
    path = model.write_zip(tmp_path / "a.pt", {"w": model.tensor(upper, "BFloat16Storage")})
    found = read_weight_file(path).arrays["w"]
    assert found.dtype == np.float32 and found.tolist() == values.tolist()


def test_windows_onto_one_storage(tmp_path):
    """Offset and strides in elements: a transposed matrix, a row of it, and one with nothing in it."""
    model, array = Model(), np.arange(12, dtype=np.float32).reshape(3, 4)
    model.tensor(array)
    stored = Stored("0", "FloatStorage", 12)
    windows = {"t": ((4, 3), (1, 4), 0), "row": ((4,), (1,), 8), "none": ((0, 4), (4, 1), 12)}
    value = {name: tensor(stored, offset, size, stride) for name, (size, stride, offset) in windows.items()}
    found = read_weight_file(model.write_zip(tmp_path / "a.pt", value)).arrays
    assert (found["t"] == array.T).all() and (found["row"] == array[2]).all() and found["none"].shape == (0, 4)


def network(model: Model, **state: Any) -> Any:
    """A pickled network of classes that nobody here knows."""
    inner = model.module("torch.nn.modules.batchnorm.BatchNorm2d", {}, weight=np.ones(2, np.float32), eps=1e-3)
    block = model.module("somebodys.blocks.Fancy", {"bn": inner}, weight=np.zeros((2, 1), np.float32))
    return model.module("ultralytics.nn.tasks.DetectionModel", {"0": block}, names={0: "cat", 1: "dog"}, **state)


def test_an_unknown_class_becomes_a_record_read_by_its_structure(tmp_path):
    model = Model()
    path = model.write_zip(tmp_path / "a.pt", {"epoch": -1, "ema": None, "model": network(model, task="detect")})
    found = read_weight_file(path)
    assert {name: array.shape for name, array in found.arrays.items()} == {"0.weight": (2, 1), "0.bn.weight": (2,)}
    assert found.kind == "ultralytics.nn.tasks.DetectionModel"
    assert found.settings["0.bn.eps"] == 1e-3 and found.settings["names"] == {0: "cat", 1: "dog"}


def test_nothing_named_is_imported(tmp_path, monkeypatch):
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    model = Model()
    read_weight_file(model.write_zip(tmp_path / "a.pt", {"model": network(model)}))
    assert "somebodys" not in sys.modules


@pytest.mark.parametrize("name", ["yolo11n.pt", "yolov8n-seg.pt"])
def test_published_checkpoints(name):
    if not (WEIGHTS / name).is_file():
        pytest.skip(f"{name} is not on this machine")
    found = read_weight_file(WEIGHTS / name)
    assert found.arrays["model.0.conv.weight"].shape == (16, 3, 3, 3) and len(found.settings["names"]) == 80
    assert all(np.isfinite(array).all() for array in found.arrays.values())


class System:
    def __reduce__(self):
        return os.system, ("touch /tmp/ppsplit-was-executed",)


class Eval:
    def __reduce__(self):
        return eval, ("__import__('os').system('touch /tmp/ppsplit-was-executed')",)


HOSTILE = {
    "system": System(),
    "eval": Eval(),
    "__builtin__.getattr": {"model": [Call("__builtin__.getattr", 1, "real")]},
    "torch.load": Call("torch.load", "http://192.0.2.1/x.pt"),
    "torch.hub.load": {"w": Call("torch.hub.load", "a/b", "c")},
    "torch._utils._rebuild_sparse_tensor": Call("torch._utils._rebuild_sparse_tensor", 1, 2),
    "torch.storage._load_from_bytes": Call("torch.storage._load_from_bytes", b"\x80\x02."),
    "evil.plugin.Loader": Call("evil.plugin.Loader", "argument"),
    "torch.nn.modules.linear.Linear": Call("torch.nn.modules.linear.Linear", 3, 4),
    "subprocess.Popen": Call("subprocess.Popen"),
}


@pytest.mark.parametrize("says", sorted(HOSTILE))
@pytest.mark.parametrize("write", ["zip", "stream"])
def test_what_wants_to_be_executed_is_refused_by_name(tmp_path, says, write):
    model = Model()
    path = tmp_path / "a.pt"
    if write == "zip":
        model.write_zip(path, HOSTILE[says])
    else:
        model.write_stream(path, HOSTILE[says], 4)
    with pytest.raises(UnsafePickleError, match=f"{re.escape(says)}.*nothing was executed"):
        read_weight_file(path)
    assert not os.path.exists("/tmp/ppsplit-was-executed")


def test_a_hostile_state_deep_inside_a_network(tmp_path):
    model = Model()
    value = network(model)
    value._modules["0"]._modules["bn"].hook = System()
    with pytest.raises(UnsafePickleError, match="system"):
        read_weight_file(model.write_zip(tmp_path / "a.pt", {"model": value}))


@pytest.mark.parametrize(
    ("size", "stride", "offset", "elements"),
    [
        ((13,), (1,), 0, 12),  # longer than the storage
        ((4,), (4,), 0, 12),  # its last element lies beyond
        ((12,), (1,), 1, 12),
        ((1 << 40,), (0,), 0, 12),  # a few bytes, repeated into a terabyte
        ((1 << 62, 1 << 62), (0, 0), 0, 12),
        ((2,), (-1,), 5, 12),
        ((-2,), (1,), 0, 12),
        ((2,), (1, 1), 0, 12),
        ((True,), (1,), 0, 12),
        ((12,), (1,), 0, 24),  # the storage has fewer bytes than the pickle says
    ],
)
def test_windows_that_leave_their_storage(tmp_path, size, stride, offset, elements):
    model = Model()
    model.tensor(np.zeros(12, np.float32))
    value = {"w": tensor(Stored("0", "FloatStorage", elements), offset, size, stride)}
    with pytest.raises(WeightsError):
        read_weight_file(model.write_zip(tmp_path / "a.pt", value))


def test_a_storage_that_is_missing_or_of_two_lengths(tmp_path):
    missing = {"w": tensor(Stored("9", "FloatStorage", 1), 0, (1,), (1,))}
    with pytest.raises(WeightsError, match="lacks storage '9'"):
        read_weight_file(Model().write_zip(tmp_path / "a.pt", missing))
    model = Model()
    model.tensor(np.zeros(4, np.float32))
    two = {name: tensor(Stored("0", "FloatStorage", size), 0, (1,), (1,)) for name, size in (("a", 4), ("b", 5))}
    with pytest.raises(WeightsError, match="5 in another"):
        read_weight_file(model.write_zip(tmp_path / "b.pt", two))


def test_zip_bombs_and_zips_of_something_else(tmp_path):
    model = Model()
    value = {"w": model.tensor(np.zeros(1 << 20, np.float32))}
    with pytest.raises(WeightsError, match="compressed entry"):
        read_weight_file(model.write_zip(tmp_path / "bomb.pt", value, zipfile.ZIP_DEFLATED))
    with pytest.raises(WeightsError, match="byte order"):
        read_weight_file(model.write_zip(tmp_path / "big.pt", value, order=b"big"))
    np.savez(tmp_path / "a.npz", w=np.zeros(3))
    with pytest.raises(WeightsError, match=r"without one data\.pkl"):
        read_weight_file(tmp_path / "a.npz")
    assert not is_torch_file(tmp_path / "a.npz")
    path = model.write_zip(tmp_path / "script.pt", value)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(UnsafePickleError, match="TorchScript"):
        read_weight_file(path)


def test_entries_that_overlap(tmp_path):
    """Every name in the directory points at the same bytes: unpacked they would be many times the file."""
    model = Model()
    for _ in range(40):
        model.tensor(np.zeros(4096, np.float32))
    path = model.write_zip(tmp_path / "a.pt", {"w": tensor(Stored("0", "FloatStorage", 4096), 0, (1,), (1,))})
    with zipfile.ZipFile(path, "a") as archive:
        start = archive.start_dir
        directory = path.read_bytes()[start:]
    kept = path.read_bytes()[: start // 20]
    (tmp_path / "b.pt").write_bytes(kept + directory)
    with pytest.raises(WeightsError):
        read_weight_file(tmp_path / "b.pt")


def test_modules_that_hold_each_other_or_the_next_one_twice(tmp_path):
    model = Model()
    loop = model.module("a.B", {}, weight=np.zeros(1, np.float32))
    loop._modules["self"] = loop
    with pytest.raises(WeightsError, match="nested"):
        read_weight_file(model.write_zip(tmp_path / "loop.pt", {"model": loop}))
    model, layer = Model(), None
    layer = model.module("a.B", {}, weight=np.zeros(1, np.float32))
    for _ in range(40):
        layer = model.module("a.B", {"l": layer, "r": layer})
    with pytest.raises(WeightsError, match="more than"):
        read_weight_file(model.write_zip(tmp_path / "tree.pt", {"model": layer}))


@pytest.mark.parametrize("value", [None, [1], {}, {"w": 1}, {"model": {"w": "text"}}])
def test_a_value_that_is_no_network(tmp_path, value):
    with pytest.raises(WeightsError, match="expected a network"):
        read_weight_file(Model().write_zip(tmp_path / "a.pt", value))


def test_every_truncation_of_either_format_is_an_error(tmp_path):
    model = Model()
    value = {"w": model.tensor(np.arange(6, dtype=np.float32))}
    for path in (model.write_zip(tmp_path / "a.pt", value), model.write_stream(tmp_path / "b.pt", value, 4)):
        data = path.read_bytes()
        for length in range(0, len(data) - 1, 3):
            path.write_bytes(data[:length])
            with pytest.raises(WeightsError):
                read_weight_file(path)


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_are_an_error_or_arrays(tmp_path, data):
    model = Model()
    write = data.draw(st.sampled_from(["zip", "stream"]))
    value = {"model": network(model)}
    path = tmp_path / "a.pt"
    if write == "zip":
        model.write_zip(path, value)
    else:
        model.write_stream(path, value, 4)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(WeightsError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_weight_file(path)


def test_a_paddle_file_may_not_use_what_only_a_torch_file_may(tmp_path):
    path = tmp_path / "a.pdparams"
    path.write_bytes(dumps({"w": Stored("0", "FloatStorage", 1)}))
    with pytest.raises(UnsafePickleError):
        read_weight_file(path)
    path.write_bytes(pickle.dumps({"w": np.zeros(2)}, protocol=2))
    assert list(read_weight_file(path).arrays) == ["w"]
