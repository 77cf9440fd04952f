"""Quantization as arithmetic on arrays: grids, clip values, bits per layer, and the packed file.

Knows no network and no framework; Paddle's own quantizers are called in `ppsplit.export`. Nothing is gathered
here, because a board imports `quant.packed` alone and has no scipy, which `quant.lapq` needs.
"""

from __future__ import annotations
