"""Too little memory for a run: said as MemoryError, and the program is as good as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import re, resource, sys
from pathlib import Path
import numpy as np
from ppsplit.bundle import TAIL, Bundle
from ppsplit.runtime.choice import load_part

bundle = Bundle.open(Path(sys.argv[1]))
cut = bundle.cut("stem")
tail = load_part(bundle, cut, TAIL, "paddle")
generator = np.random.default_rng(0)

def feeds(images):
    return {s.name: generator.normal(size=(images, *s.shape[1:])).astype(s.dtype) for s in cut.tensors}

small, large, lifted = feeds(1), feeds(20_000), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
before = tail.run(small)
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
failed = 0
for extra in range(0, 60_000_000, 4_000_000):
    resource.setrlimit(resource.RLIMIT_AS, (size + extra, resource.RLIM_INFINITY))
    try:
        tail.run(large)
    except MemoryError:
        failed += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, lifted)
    after = tail.run(small)
    assert all((after[name] == before[name]).all() for name in before), extra
assert failed > 5, failed
fresh = load_part(bundle, cut, TAIL, "paddle").run(large)
assert all((array == fresh[name]).all() for name, array in tail.run(large).items())
print("as good as before")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
def test_it_is_said_and_survived(tiny_bundle: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tiny_bundle)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "as good as before", done.stderr[-2000:]
