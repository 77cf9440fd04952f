"""`python -m ppsplit.edge`: the client's command line."""

from __future__ import annotations

import sys
import traceback
from typing import Optional, Sequence

from ppsplit.edge.arguments import build_parser, check
from ppsplit.edge.report import image_lines, summary_lines
from ppsplit.edge.run import REPORT_FILE, run, save_features
from ppsplit.errors import PPSplitError

PROG = "python -m ppsplit.edge"


def main(argv: Optional[Sequence[str]] = None, prog: str = PROG) -> int:
    """Run the client.

    Args:
        argv: the arguments; the process's own when None.
        prog: what the usage line calls the program.

    Returns:
        exit code: 0, or 1 after an error, told in one line on the error stream.
    """
    arguments = build_parser(prog).parse_args(argv)
    try:
        check(arguments)
        if arguments.save_features is not None:
            size = save_features(arguments)
            print(f"wrote {arguments.save_features}: {size} bytes")
            return 0
        report = run(arguments)
    except (PPSplitError, OSError) as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for line in image_lines(report) + summary_lines(report["summary"]):
        print(line)
    print(f"\nreport: {arguments.json or arguments.output / REPORT_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
