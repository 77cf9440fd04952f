"""The one place that imports paddle.

libpaddle 2.6.2 exports symbols of its own old zlib. Loaded first, they are what any later user of zlib
gets, and it crashes (zlib.compress, PNG encoding, grpc). With Python's zlib loaded before, all is well.
"""

from __future__ import annotations

import os
import zlib  # noqa: F401  must come before paddle

os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle tells every user which executor it runs

import paddle

__all__ = ["paddle"]
