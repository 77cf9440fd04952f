"""What is to be examined: a bundle, a folder of `ppsplit export`, or any frozen program; and in which format it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional, Tuple

from ppsplit.bundle import FULL, HEAD, MANIFEST, Bundle
from ppsplit.doctor.finding import FATAL, Finding
from ppsplit.errors import ProgramError
from ppsplit.export.freeze import DESCRIPTION
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX

OLD_MODEL, OLD_PARAMS = "__model__", ("__params__", "params")
PIR_CURE = (
    "save it again in the old format: FLAGS_enable_pir_api=0 in the environment, then paddle.jit.save or "
    "save_inference_model with Paddle 3, or save with Paddle 2.6"
)


@dataclass(frozen=True)
class Subject:
    """A program in the format of Paddle 2.

    Attributes:
        model, params: its files; the second may be missing.
        stages: a stage's name to the tensor it returns, {} where unknown.
        bundle: the bundle it comes from, if it does; then `model` is the whole network.
        heads: cut's name to its head's model file, of a bundle.
    """

    model: Path
    params: Path
    stages: Dict[str, str] = field(default_factory=dict)
    bundle: Optional[Bundle] = None
    heads: Dict[str, Path] = field(default_factory=dict)


def find_subject(path: Path) -> Tuple[Optional[Subject], Optional[Finding]]:
    """The program at `path`, or the finding that says why its format cannot be converted.

    Args:
        path: a bundle's folder, a folder with a program, a `.pdmodel`, or a program's path without its ending.

    Raises:
        BundleError: the bundle is damaged.
        ProgramError: there is no program.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return _of_bundle(Bundle.open(path)), None
    model = _model_file(path)
    if model.suffix == ".json":
        return None, _explain_json(model)
    if model.name == OLD_MODEL:
        return None, _explain_old(model)
    return Subject(model, model.with_name(model.stem + PARAMS_SUFFIX), _stages(model.parent)), None


def _of_bundle(bundle: Bundle) -> Subject:
    full = bundle.program(bundle.cut(), FULL, "paddle")
    heads = {}
    for cut in bundle.manifest.cuts:
        head = bundle.program(cut, HEAD, "paddle", "fp32")
        if "model" in head.files:  # a passthrough has none
            heads[cut.name] = bundle.path(head.files["model"])
    return Subject(bundle.path(full.files["model"]), bundle.path(full.files["params"]), {}, bundle, heads)


def _model_file(path: Path) -> Path:
    if path.is_file():
        if path.suffix in (MODEL_SUFFIX, ".json") or path.name == OLD_MODEL:
            return path
        raise ProgramError(
            f"{path} is no program; give a bundle's folder, a {MODEL_SUFFIX} or the folder of one"
            + ("; a .nb is converted already (see `ppsplit inspect`)" if path.suffix == ".nb" else "")
        )
    if path.is_dir():
        programs = [f for suffix in (MODEL_SUFFIX, ".json") for f in sorted(path.glob(f"*{suffix}"))]
        candidates = [*programs, *path.glob(OLD_MODEL)]
        found = [f for f in candidates if f.name != DESCRIPTION][:1]
    else:
        found = [f for f in (Path(f"{path}{suffix}") for suffix in (MODEL_SUFFIX, ".json")) if f.is_file()]
    if not found:
        raise ProgramError(f"no program at {path}; give a bundle's folder, a {MODEL_SUFFIX} or the folder of one")
    return found[0]


def _explain_json(model: Path) -> Finding:
    try:
        values = json.loads(model.read_text(encoding="utf-8"))
        is_pir = values["base_code"]["magic"] == "pir"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_pir = False
    if not is_pir:
        raise ProgramError(f"{model} is JSON and no program; give a {MODEL_SUFFIX} or the folder of one")
    return Finding(
        "format",
        FATAL,
        f"{model.name} is a program of Paddle 3 (PIR), Paddle Lite and ppsplit read Paddle 2's",
        PIR_CURE,
    )


def _explain_old(model: Path) -> Finding:
    combined = [name for name in OLD_PARAMS if (model.parent / name).is_file()]
    if combined:
        cure = f"rename {OLD_MODEL} to model{MODEL_SUFFIX} and {combined[0]} to model{PARAMS_SUFFIX}"
        return Finding("format", FATAL, f"{OLD_MODEL} and {combined[0]} have names of Paddle 1", cure)
    count = sum(1 for f in model.parent.iterdir() if f.is_file()) - 1
    cure = (
        "load it with paddle.static.load_inference_model and save it with save_inference_model, which writes one file"
    )
    return Finding("format", FATAL, f"{OLD_MODEL} with {count} files beside it: parameters one by one", cure)


def _stages(folder: Path) -> Dict[str, str]:
    """The stages of a folder that `ppsplit export` wrote."""
    try:
        values = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return {str(name): str(tensor) for name, tensor in values["stages"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
