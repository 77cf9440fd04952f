"""A network in training code to a frozen program: batch norm folded, batch size open, stages named."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from ppsplit.bundle import DecodeSpec
from ppsplit.errors import ProgramError
from ppsplit.export.program import MODEL_SUFFIX, FrozenProgram
from ppsplit.files import write_json_atomically
from ppsplit.image import Preprocess
from ppsplit.paddle_first import paddle

DESCRIPTION = "frozen.json"
INPUT_NAME = "image"
RAW = "raw"


@dataclass(frozen=True)
class FrozenModel:
    """A frozen program and what is known about it.

    Attributes:
        name: the network's.
        program: the program with its parameters.
        stages: a stage's structural name ("pool4", "stage3.block2") to the tensor it returns.
        weights_sha256: of the file the weights came from, "" where there was none.
    """

    name: str
    program: FrozenProgram
    preprocess: Preprocess
    decode: DecodeSpec
    class_names: Tuple[str, ...] = ()
    stages: Dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""

    def save(self, directory: Path) -> Path:
        """Write `model.pdmodel`, `model.pdiparams` and `frozen.json`; returns the directory."""
        graph = self.program.graph()
        kept = self.program.with_constants([operator.index for operator in graph.operators])
        self.program.save_part(directory / "model", kept, graph.inputs, graph.outputs)
        description = {
            "name": self.name,
            "preprocess": self.preprocess.to_json(),
            "decode": asdict(self.decode),
            "class_names": list(self.class_names),
            "stages": self.stages,
            "weights_sha256": self.weights_sha256,
        }
        write_json_atomically(directory / DESCRIPTION, description)
        return directory

    @classmethod
    def load(cls, path: Path) -> "FrozenModel":
        """Read a directory written by `save`, or any Paddle program given by its prefix or `.pdmodel`.

        A program from elsewhere gets its tensors for cut names, `raw` decoding and stretched RGB in 0..1.

        Raises:
            ProgramError: no program there, or its input is not one image.
        """
        path = Path(path)
        if (path / DESCRIPTION).is_file():
            return cls._load_described(path)
        prefix = path / "model" if path.is_dir() else path.with_name(path.name.replace(MODEL_SUFFIX, ""))
        program = FrozenProgram.load(prefix)
        name = path.name.replace(MODEL_SUFFIX, "")
        return cls(name, program, Preprocess(_image_size(program), resize="stretch"), DecodeSpec(RAW))

    @classmethod
    def _load_described(cls, directory: Path) -> "FrozenModel":
        try:
            values = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
            return cls(
                values["name"],
                FrozenProgram.load(directory / "model"),
                Preprocess.from_json(values["preprocess"]),
                DecodeSpec(**values["decode"]),
                tuple(values["class_names"]),
                values["stages"],
                values["weights_sha256"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProgramError(f"{directory / DESCRIPTION} is damaged ({error!r}); freeze the model again") from error


def _image_size(program: FrozenProgram) -> Tuple[int, int]:
    graph = program.graph()
    shape = graph.tensors[graph.inputs[0]].shape
    if len(graph.inputs) != 1 or len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < 1:
        described = {name: graph.tensors[name].shape for name in graph.inputs}
        raise ProgramError(f"the program takes {described}; one image [batch, 3, height, width] was expected")
    return shape[2], shape[3]


def trace(network: Any, input_hw: Tuple[int, int], directory: Path) -> Tuple[FrozenProgram, Dict[str, str]]:
    """Trace an evaluated network, write it to `directory/traced.*` and read it back.

    Args:
        network: a paddle Layer whose forward takes one image batch float32 [N, 3, H, W]; batch norm already folded.
        input_hw: H and W.

    Returns:
        the program, and structural name of each sublayer to the tensor it returned.
    """
    network.eval()
    _forget_failed_traces()
    stages: Dict[str, str] = {}
    spec = paddle.static.InputSpec([None, 3, *input_hw], "float32", INPUT_NAME)
    with _recorded(network, stages), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paddle.jit.save(paddle.jit.to_static(network, input_spec=[spec], full_graph=True), str(directory / "traced"))
    outermost_first = dict(sorted(stages.items(), key=lambda stage: stage[0].count(".")))
    return FrozenProgram.load(directory / "traced"), outermost_first


def _forget_failed_traces() -> None:
    # Paddle files a trace's parameters under id(program) and takes them out when it has succeeded. After one that
    # failed they stay, and a later program that is given the same id is asked to save parameters it never had.
    paddle.jit.api.ProgramTranslator.get_instance()._params_recorder.params_dict.clear()


@contextlib.contextmanager
def _recorded(network: Any, stages: Dict[str, str]) -> Iterator[None]:
    """While tracing, note for each sublayer which variable its output became."""

    def note(name: str) -> Any:
        def hook(layer: Any, inputs: Any, output: Any) -> None:
            tensor = getattr(output, "name", None)  # a list of outputs has none
            if tensor is not None:
                stages.setdefault(name, tensor)  # a layer used twice is named after its first use

        return hook

    handles: List[Any] = [
        layer.register_forward_post_hook(note(name)) for name, layer in network.named_sublayers() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
