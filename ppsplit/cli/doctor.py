"""`ppsplit doctor`: what will not convert for Paddle Lite, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Optional

from ppsplit.cli.tables import print_table
from ppsplit.doctor import examine, exit_code


def doctor(program: Path, /, target: Literal["arm", "x86", "opencl"] = "arm", json: Optional[Path] = None) -> int:
    """Look at a bundle or a program before it is converted; exit code 0 fine, 1 will not convert, 2 with a caveat.

    Args:
        program: A bundle's folder, the folder of a program, or a .pdmodel file.
        target: What the .nb is to run on.
        json: Write the table there too.
    """
    findings = examine(program, target)
    code = exit_code(findings)
    about = {"program": program, "target": target, "exit_code": code}
    print_table([vars(finding) for finding in findings], title=f"{program} for {target}", json_path=json, about=about)
    return code
