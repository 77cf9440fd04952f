"""What a program computes by definition: in Paddle's plain executor, without any optimisation."""

from __future__ import annotations

from typing import Dict, Sequence

import numpy as np

from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.paddle_first import paddle


@static_mode()
def run_plainly(program: FrozenProgram, feeds: Dict[str, np.ndarray], fetches: Sequence[str]) -> Dict[str, np.ndarray]:
    """The tensors `fetches`, given the program's inputs. Slow, but no pass has touched the program."""
    with paddle.static.scope_guard(program.scope):
        executor = paddle.static.Executor(paddle.CPUPlace())
        found = executor.run(program.program, feed=feeds, fetch_list=list(fetches))
    return dict(zip(fetches, found))
