"""What will not convert for Paddle Lite, and why. It looks and never converts.

examine -> subject     the files that are meant, and their format
        -> parameters  whether the parameters are all there
        -> operators   operator by operator, with lite_ops (what Paddle Lite says) and rules (what it does not say)
        -> machine     wheel, architecture, processor
"""

from __future__ import annotations

from ppsplit.doctor.examine import examine
from ppsplit.doctor.finding import CAVEAT, FATAL, FINE, Finding, exit_code

__all__ = ["CAVEAT", "FATAL", "FINE", "Finding", "examine", "exit_code"]
