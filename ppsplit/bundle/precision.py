"""What a program's precision says of how it is loaded and run."""

from __future__ import annotations

FP32 = "fp32"
WEIGHTS_ONLY = ("int8", "int16")
ALGORITHMS = ("kl", "hist", "mse", "aciq", "lapq")  # how the activations' clip values are chosen
PTQ = tuple(f"ptq-{algorithm}" for algorithm in ALGORITHMS)
DEFAULT_PTQ = "ptq-hist"
QAT, MIXED = "qat", "mixed"
QUANTIZED = (*WEIGHTS_ONLY, *PTQ, QAT, MIXED)


def computes_in_integers(precision: str) -> bool:
    """Whether convolutions multiply int8 by int8: weights and activations have fixed scales."""
    return precision in (*PTQ, QAT)
