"""Weight-only quantization of a frozen program, by Paddle's own `WeightQuantization`."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Dict, Iterator

from ppsplit.errors import ExportError
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram, static_mode
from ppsplit.paddle_first import paddle

WEIGHT_BITS: Dict[str, int] = {"int8": 8, "int16": 16}
QUANTIZER_LOGGERS = tuple(
    f"paddle.static.quantization.{module}" for module in ("post_training_quantization", "quantization_pass")
)
QUANTIZED, FAKE_QUANTIZED = "quantized_model", "test_model"


def quantize_weights(prefix: Path, directory: Path, precision: str) -> None:
    """Quantize the weights of `<prefix>.pdmodel/.pdiparams`, per output channel, by their largest magnitude.

    Writes two programs into `directory`: `quantized_model/model` holds integers and runs only where a
    quantized kernel or Paddle Lite reads it; `test_model/model` holds the same weights, rounded, as fp32.

    Args:
        precision: "int8" or "int16".

    Raises:
        ExportError: unknown precision, or Paddle could not quantize the program.
    """
    if precision not in WEIGHT_BITS:
        raise ExportError(f"cannot quantize weights to {precision!r}; choose from {', '.join(WEIGHT_BITS)}")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, static_mode(), quiet():
        quantizer = paddle.static.quantization.WeightQuantization(
            model_dir=str(prefix.parent),
            model_filename=prefix.name + MODEL_SUFFIX,
            params_filename=prefix.name + PARAMS_SUFFIX,
        )
        try:
            quantizer.quantize_weight_to_int(
                save_model_dir=scratch,
                weight_bits=WEIGHT_BITS[precision],
                quantizable_op_type=["conv2d", "depthwise_conv2d", "mul"],
                weight_quantize_type="channel_wise_abs_max",
                generate_test_model=True,
            )
        except Exception as error:  # Paddle documents none of what it raises here
            raise ExportError(
                f"Paddle could not quantize the weights of {prefix.name} to {precision}: {error}"
            ) from error
        _move_program(Path(scratch) / QUANTIZED, Path(scratch) / "integers")
        _restore_tensor_names(Path(scratch) / "integers" / "model", directory / QUANTIZED / "model")
        _move_program(Path(scratch) / FAKE_QUANTIZED, Path(scratch) / "fake")
        _restore_tensor_names(Path(scratch) / "fake" / "model", directory / FAKE_QUANTIZED / "model")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the quantizers' print-outs and bars, and their warning that they load programs the old way."""
    loggers = [logging.getLogger(name) for name in ("paddle.static.io", *QUANTIZER_LOGGERS)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _restore_tensor_names(source: Path, destination: Path) -> None:
    """Save again without the `scale` that Paddle put behind every output, which gave it another name."""
    program = FrozenProgram.load(source)
    graph = program.graph()
    kept = program.with_constants([operator.index for operator in graph.operators])
    program.save_part(destination, kept, graph.inputs, graph.outputs)


def _move_program(source: Path, destination: Path) -> None:
    """Bring whatever file names Paddle chose to model.pdmodel and model.pdiparams."""
    destination.mkdir(parents=True, exist_ok=True)
    for suffix in (MODEL_SUFFIX, PARAMS_SUFFIX):
        found = sorted(source.glob(f"*{suffix}"))
        if len(found) != 1:
            raise ExportError(f"Paddle wrote {[p.name for p in source.iterdir()]}, one *{suffix} was expected")
        shutil.move(str(found[0]), str(destination / f"model{suffix}"))
