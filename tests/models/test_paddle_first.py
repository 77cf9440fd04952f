"""What libpaddle's own zlib would break works when paddle comes through `ppsplit.paddle_first`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VICTIMS = """
from ppsplit.paddle_first import paddle
import zlib
assert zlib.decompress(zlib.compress(b"ppsplit" * 1000)) == b"ppsplit" * 1000
import cv2
import numpy as np
pixels = np.random.RandomState(0).randint(0, 255, (64, 64, 3), np.uint8)
ok, data = cv2.imencode(".png", pixels)
assert ok and (cv2.imdecode(data, cv2.IMREAD_COLOR) == pixels).all()
assert paddle.to_tensor([1.0]).numpy() == [1.0]
print("alive")
"""


def test_users_of_zlib_live():
    done = subprocess.run([sys.executable, "-c", VICTIMS], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-1000:]


def test_nothing_else_imports_paddle():
    package = Path(__file__).resolve().parents[2] / "ppsplit"
    imports = ("import paddle", "from paddle ", "from paddle.")
    offenders = {
        path.relative_to(package)
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(imports) and not line.strip().startswith(("import paddlelite", "import paddle2onnx"))
    }
    assert offenders == {Path("paddle_first.py")}
