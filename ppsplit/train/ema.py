"""An exponential moving average of a network's weights, held by a second network that is evaluated and kept."""

from __future__ import annotations

import copy

from ppsplit.paddle_first import paddle


class AveragedNetwork:
    """The average of a network over its steps.

    The decay grows as min(decay, (1 + step) / (10 + step)), so that the first weights are soon forgotten.

    Attributes:
        network: holds the average; in evaluation mode.
    """

    def __init__(self, network: paddle.nn.Layer, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network)
        self.network.eval()
        for tensor in self.network.state_dict().values():
            tensor.stop_gradient = True

    @paddle.no_grad()
    def update(self, network: paddle.nn.Layer, step: int) -> None:
        """Take in the network's weights and its running statistics after `step`, which counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged = self.network.state_dict()
        for name, tensor in network.state_dict().items():
            averaged[name].set_value(averaged[name] * decay + tensor * (1 - decay))
