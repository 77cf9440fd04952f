"""Split inference between an edge board and the cloud for PaddlePaddle detectors."""

from __future__ import annotations

__version__ = "0.1.0"
