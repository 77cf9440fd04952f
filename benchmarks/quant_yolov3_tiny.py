"""The README's quantization table: yolov3-tiny at three cuts, every precision, what runs and what it costs.

Run it as `python benchmarks/quant_yolov3_tiny.py --help`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppsplit.bundle import Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.export_split import export_split  # noqa: E402
from ppsplit.cli.options import Names  # noqa: E402
from ppsplit.cli.quant_report import write_report  # noqa: E402
from ppsplit.data.coco import CocoSet  # noqa: E402
from ppsplit.data.layout import find_split  # noqa: E402
from ppsplit.evaluate.quant_report import QuantRequest  # noqa: E402
from ppsplit.export.calibration import calibration_inputs  # noqa: E402
from ppsplit.files import write_json_atomically  # noqa: E402

COMMAND = "python benchmarks/quant_yolov3_tiny.py --root ROOT --val-split SPLIT --calibration-images DIR"
RESULTS = ROOT / "benchmarks" / "results"
# The default one, the end of the backbone, and in front of the heads' last convolutions.
CUTS = ("pool4", "conv7", "head32_conv+head16_conv")
PRECISIONS = ["int8", "int16", "ptq-kl", "ptq-hist", "ptq-mse", "ptq-aciq", "ptq-lapq", "mixed"]
