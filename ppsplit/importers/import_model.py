"""ONNX file to frozen model: read, convert, certify; written only when it computes what ONNX Runtime computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import DecodeSpec
from ppsplit.decode import build_decoder
from ppsplit.errors import InferenceRuntimeError, OnnxError
from ppsplit.export.freeze import RAW, FrozenModel
from ppsplit.export.graph import Graph, GraphCut, distinct_cuts
from ppsplit.files import sha256_of
from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.importers.certify import ImportCertificate, certify_import
from ppsplit.importers.convert import convert
from ppsplit.importers.decoding import PREPROCESS, decode_spec_of
from ppsplit.importers.onnx_file import OnnxModel, read_onnx
from ppsplit.models.coco_names import COCO_NAMES

RANDOM_SAMPLES = 2
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        frozen: to save, and to cut.
        certificates: what was compared.
    """

    frozen: FrozenModel
    certificates: Tuple[ImportCertificate, ...]


@dataclass(frozen=True)
class ImportPlan:
    """What to make of an ONNX file.

    Attributes:
        path: the file.
        input_shape: batch, 3, height, width; needed where the file leaves sizes open.
        family: how its outputs become detections, a key of `decoding.PREPROCESS`.
        fit: from the family's way of making photos the input to the one wanted.
        in_pixels: of yolox: the graph returns boxes in pixels.
        softmax: of classify: the graph returns logits.
        class_names: in the order of the scores.
        photos: real inputs to certify it on, beside random ones.
    """

    path: Path
    input_shape: Optional[Tuple[int, ...]]
    family: str
    fit: Callable[[Preprocess], Preprocess]
    in_pixels: bool
    softmax: bool
    class_names: Tuple[str, ...]
    photos: Tuple[Path, ...]


def import_model(plan: ImportPlan, progress: Progress = print) -> Imported:
    """Make a frozen model of an ONNX file.

    Raises:
        OnnxError: the file cannot be read, an operator cannot be taken, or its outputs are not those of the family.
        CertificationError: the program does not compute what ONNX Runtime computes.
    """
    progress(f"reading {plan.path}")
    model = read_onnx(plan.path, plan.input_shape)
    preprocess = plan.fit(PREPROCESS[plan.family](model.input_shape[2:]))
    progress("converting")
    program = convert(model)
    graph = program.graph()
    decode = decode_spec_of(plan.family, [graph.tensors[name] for name in graph.outputs], plan.in_pixels, plan.softmax)
    frozen = FrozenModel(
        plan.path.stem, program, preprocess, decode, _class_names(plan, decode), {}, sha256_of(plan.path)
    )
    _check_decoding(frozen, graph)
    progress("certifying against ONNX Runtime")
    certificates = certify_import(model, program, _samples(model, preprocess, plan.photos))
    return Imported(frozen, tuple(certificates))


def _class_names(plan: ImportPlan, decode: DecodeSpec) -> Tuple[str, ...]:
    """The names given, or COCO's for a detector of that many classes."""
    count = decode.params.get("num_classes")
    if plan.class_names and count is not None and len(plan.class_names) != count:
        raise OnnxError(f"{len(plan.class_names)} class names were given, {plan.path} tells {count} classes apart")
    is_coco = count == len(COCO_NAMES) and plan.family != "classify"
    return plan.class_names or (COCO_NAMES if is_coco else ())


def _samples(model: OnnxModel, preprocess: Preprocess, photos: Sequence[Path]) -> Dict[str, Sequence[np.ndarray]]:
    """Network inputs: noise over the range that pixels take, and photos."""
    generator = np.random.default_rng(0)
    low, high = (
        (np.array([value] * 3, np.float32) - np.array(preprocess.mean, np.float32))
        / np.array(preprocess.std, np.float32)
        for value in (0.0, 1.0)
    )
    noise = [generator.random(model.input_shape, np.float32) for _ in range(RANDOM_SAMPLES)]
    random = [(values * (high - low)[:, None, None] + low[:, None, None]).astype(np.float32) for values in noise]
    real = [to_input(read_image(photo), preprocess)[0] for photo in photos]
    return {"random": random, "photos": real}


def _check_decoding(frozen: FrozenModel, graph: Graph) -> None:
    """Let the decoder see outputs of the right shapes, so that a wrong family is told now and not by the server."""
    if frozen.decode.family == RAW:
        return
    outputs = [np.zeros([max(size, 1) for size in graph.tensors[name].shape], np.float32) for name in graph.outputs]
    try:
        build_decoder(frozen.decode, frozen.preprocess.input_hw)(outputs)
    except InferenceRuntimeError as error:
        raise OnnxError(f"{frozen.name} cannot be decoded as {frozen.decode.family!r}: {error}") from error


def narrow_cuts(graph: Graph) -> List[GraphCut]:
    """The cuts that send one tensor, smaller than that of any cut before them; shallow first.

    Of several that cost the edge the same and send as much, such as before and behind a bias and an activation, it is
    the last one.
    """
    narrow: List[GraphCut] = []
    for cut in distinct_cuts(graph, {}):
        if len(cut.tensors) > 1 or not cut.tensors[0].dtype.startswith("float"):
            continue
        if narrow and cut_bytes(cut) == cut_bytes(narrow[-1]) and cut.edge_macs_share == narrow[-1].edge_macs_share:
            narrow[-1] = cut
        elif not narrow or cut_bytes(cut) < cut_bytes(narrow[-1]):
            narrow.append(cut)
    return narrow


def cut_bytes(cut: GraphCut) -> int:
    """Bytes of what crosses, for one picture, before compression."""
    return sum(spec.bytes_per_image() for spec in cut.tensors)
