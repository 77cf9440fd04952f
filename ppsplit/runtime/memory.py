"""How much memory a process has taken."""

from __future__ import annotations

import sys


def peak_rss_bytes() -> int:
    """Most memory this process ever had resident; 0 where the system does not say.

    From /proc, since getrusage's ru_maxrss survives exec: a small child of a large parent would show the parent's.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
