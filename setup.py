"""The one thing that pyproject.toml cannot say yet: a compiled core that may be missing.

It is plain C, loaded through ctypes. Where there is no compiler the package is installed without it, and numpy computes
the same bytes more slowly.
"""

from __future__ import annotations

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "ppsplit.codec._wavefront", ["ppsplit/codec/wavefront.c"], extra_compile_args=["-std=c99"], optional=True
        )
    ]
)
