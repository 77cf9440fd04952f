"""`python -m ppsplit.edge`: the client's command line."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Optional, Sequence

from ppsplit.edge.arguments import build_parser, check, is_stream
from ppsplit.edge.outputs import STDOUT
from ppsplit.edge.report import image_lines, summary_lines
from ppsplit.edge.run import REPORT_FILE, run, run_streaming, save_features
from ppsplit.edge.stream_job import stream_lines
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
        streams = is_stream(arguments)
        if streams:
            logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
            logging.getLogger("ppsplit.edge").setLevel(logging.INFO)  # what was decided, and why
        report = run_streaming(arguments) if streams else run(arguments)
    except (PPSplitError, OSError) as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    summary = report["summary"]
    lines = stream_lines(summary) if streams else image_lines(report) + summary_lines(summary)
    told = sys.stderr if arguments.jsonl == STDOUT else sys.stdout  # which is the lines' alone
    print("\n".join([*lines, "", f"report: {arguments.json or arguments.output / REPORT_FILE}"]), file=told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
