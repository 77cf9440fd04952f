"""Batch normalisation over the global batch. Paddle's own does it on GPUs; this one does it on CPUs, too."""

from __future__ import annotations

from ppsplit.models.blocks import ConvBN
from ppsplit.paddle_first import paddle


class _MeanOverProcesses(paddle.autograd.PyLayer):
    """The mean of a tensor over all processes. Its gradient is the mean of theirs."""

    @staticmethod
    def forward(ctx: paddle.autograd.PyLayerContext, x: paddle.Tensor) -> paddle.Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: paddle.autograd.PyLayerContext, gradient: paddle.Tensor) -> paddle.Tensor:
        return _mean(gradient)


def _channel_mean(x: paddle.Tensor) -> paddle.Tensor:
    """Mean float32 [C] of [N, C, H, W] over all processes.

    In float64: Paddle adds up float32 one by one on a CPU, which over a large map is off by a hundred roundings, and
    thirteen layers of that turn the gradient by some percent.
    """
    return _MeanOverProcesses.apply(x.astype("float64").mean([0, 2, 3])).astype("float32")


def _mean(x: paddle.Tensor) -> paddle.Tensor:
    total = x.clone()
    paddle.distributed.all_reduce(total)
    return total / paddle.distributed.get_world_size()


class SharedBatchNorm2D(paddle.nn.BatchNorm2D):
    """nn.BatchNorm2D whose batch is that of all processes together; every one has equally many values."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training:
            return super().forward(x)
        mean = _channel_mean(x)
        centred = x - mean.reshape([1, -1, 1, 1])
        variance = _channel_mean(centred * centred)
        with paddle.no_grad():
            for running, now in ((self._mean, mean), (self._variance, variance)):
                running.set_value(running * self._momentum + now * (1 - self._momentum))
        gain = self.weight / paddle.sqrt(variance + self._epsilon)
        return centred * gain.reshape([1, -1, 1, 1]) + self.bias.reshape([1, -1, 1, 1])


def share_batch_norm(network: paddle.nn.Layer) -> None:
    """Make every batch normalisation of `network` that of all processes; names and weights stay."""
    for layer in network.sublayers():
        if isinstance(layer, ConvBN) and isinstance(layer.bn, paddle.nn.BatchNorm2D):
            layer.bn = _shared(layer.bn)


def _shared(bn: paddle.nn.BatchNorm2D) -> paddle.nn.Layer:
    if paddle.device.get_device() != "cpu":
        return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(bn)
    shared = SharedBatchNorm2D(bn._num_features, momentum=bn._momentum, epsilon=bn._epsilon)
    shared.weight, shared.bias = bn.weight, bn.bias
    shared._mean.set_value(bn._mean)
    shared._variance.set_value(bn._variance)
    return shared
