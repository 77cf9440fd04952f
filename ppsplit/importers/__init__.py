"""ONNX to a frozen program, certified against ONNX Runtime."""

from __future__ import annotations
