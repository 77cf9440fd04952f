"""Several processes, one training: what `python -m paddle.distributed.launch` starts.

Gradients are summed by hand after the backward pass and divided by the number of processes, in one call for all of
them: the loss is a mean over images and every process has equally many, so this is the gradient of the global batch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Iterable, List

import numpy as np

from ppsplit.paddle_first import paddle


@dataclass(frozen=True)
class Processes:
    """This process among its fellows.

    Attributes:
        rank: 0 .. world - 1; 0 writes files and talks.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def join(cls) -> "Processes":
        """Meet the others, where a launcher has started some."""
        if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
            return cls()
        paddle.distributed.init_parallel_env()
        return cls(paddle.distributed.get_rank(), paddle.distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def average(self, tensors: Iterable[paddle.Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        tensors = list(tensors)
        if self.world == 1 or not tensors:
            return
        with paddle.no_grad():
            flat = paddle.concat([tensor.reshape([-1]) for tensor in tensors])
            paddle.distributed.all_reduce(flat)
            flat = flat / self.world
            start = 0
            for tensor in tensors:
                part = flat[start : start + tensor.size].reshape(tensor.shape)
                start += tensor.size
                tensor.set_value(part)

    def average_gradients(self, network: paddle.nn.Layer) -> None:
        """The gradient of the global batch, in every process."""
        self.average(p.grad for p in network.parameters() if p.grad is not None)

    def spread(self, network: paddle.nn.Layer) -> None:
        """The first process's weights and statistics into the others."""
        if self.world > 1:
            for tensor in network.state_dict().values():
                paddle.distributed.broadcast(tensor, src=0)

    def gathered_bytes(self, data: bytes) -> List[bytes]:
        """Every process's bytes, in the order of ranks; they may differ in length."""
        if self.world == 1:
            return [data]
        lengths = [int(length[0]) for length in self._gathered(np.array([len(data)], np.int64))]
        padded = np.frombuffer(data.ljust(max(lengths), b"\0"), np.uint8)  # all have to send as much
        return [part.tobytes()[:length] for part, length in zip(self._gathered(padded), lengths)]

    def _gathered(self, array: np.ndarray) -> List[np.ndarray]:
        parts: List[paddle.Tensor] = []
        paddle.distributed.all_gather(parts, paddle.to_tensor(array))
        return [part.numpy() for part in parts]

    def wait(self) -> None:
        """Until all have come here."""
        if self.world > 1:
            paddle.distributed.barrier()


ALONE = Processes()
