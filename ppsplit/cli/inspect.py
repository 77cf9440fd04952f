"""`ppsplit inspect`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ppsplit.bundle import FORMAT_VERSION, TAIL, Bundle, Cut, LearnedCoding, Manifest, ProgramFiles
from ppsplit.cli.tables import print_table
from ppsplit.runtime import runs_here
from ppsplit.runtime.kinds import RUNTIMES

BITS = {"fp32": 32, "fp16": 16, "uint8": 8, "uint4": 4}


def inspect_bundle(bundle: Path, /, verify: bool = False, json: Optional[Path] = None) -> None:
    """Show a bundle's input, cuts, programs and certificates.

    Args:
        bundle: The bundle's folder.
        verify: Also check every file against its sha256.
        json: Write the table of cuts there too.
    """
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    print_table(overview_rows(manifest), title=f"bundle {manifest.name}")
    print_table([cut_row(cut) for cut in manifest.cuts], title="cuts", json_path=json)
    print_table(program_rows(opened), title="programs")
    print_table(certificate_rows(manifest), title="certificates: the halves against the whole")
    for cut in manifest.cuts:
        if cut.learned is not None:
            title = f"learned codec of cut {cut.name}: {cut.learned.images} photos, curve on {cut.learned.curve_images}"
            print_table(curve_rows(cut.learned), title=title)
    if verify:
        for name in manifest.files:
            opened.path(name)
        print(f"all {len(manifest.files)} files have the sha256 that the manifest says")


def overview_rows(manifest: Manifest) -> List[Dict[str, Any]]:
    """What holds for the whole bundle, a row each."""
    fit = manifest.preprocess
    values = {
        "format": f"version {FORMAT_VERSION}, fingerprint {manifest.fingerprint[:12]}",
        "model": f"{manifest.model}, weights {manifest.weights_sha256[:12] or 'unknown'}",
        "input": f"{manifest.input.name} {_shape(manifest.input.shape)} {manifest.input.dtype}",
        "preprocess": f"{fit.resize} to {_shape(fit.input_hw)}, pad {fit.pad_pixel:g}, mean {fit.mean}, std {fit.std}",
        "outputs": " + ".join(f"{out.name} {_shape(out.shape)}" for out in manifest.outputs),
        "decode": manifest.decode.family,
        "classes": len(manifest.class_names),
        "head's default precision": manifest.precision,
    }
    return [{"what": name, "value": str(value)} for name, value in values.items()]


def cut_row(cut: Cut) -> Dict[str, Any]:
    """A cut: what crosses, how many bytes that is in each encoding before compression, the edge's share."""
    return {
        "name": cut.name,
        "tensors": " + ".join(f"{tensor.name} {_shape(tensor.shape)}" for tensor in cut.tensors),
        **{f"{name}_bytes": sum(t.bytes_per_image(bits) for t in cut.tensors) for name, bits in BITS.items()},
        "edge_macs_share": round(cut.edge_macs_share, 4),
        "edge_params_share": round(cut.edge_params_share, 4),
    }


def program_rows(bundle: Bundle) -> List[Dict[str, Any]]:
    """The programs of all cuts and of the whole network, with their size on disk."""
    manifest = bundle.manifest
    rows = [_program_row(bundle, cut, program) for cut in manifest.cuts for program in cut.programs]
    return rows + [_program_row(bundle, None, program) for program in manifest.full]


def certificate_rows(manifest: Manifest) -> List[Dict[str, Any]]:
    """What export measured for each head that it could run."""
    return [{"cut": cut.name, **vars(certificate)} for cut in manifest.cuts for certificate in cut.certificates]


def curve_rows(learned: LearnedCoding) -> List[Dict[str, Any]]:
    """What each measured quality costs and keeps; `chosen` marks the bundle's own."""
    return [{**vars(point), "chosen": point.quality == learned.quality} for point in learned.curve]


def _program_row(bundle: Bundle, cut: Optional[Cut], program: ProgramFiles) -> Dict[str, Any]:
    paths = [bundle.root / name for name in program.files.values()]
    return {
        "cut": cut.name if cut else "",
        "part": program.part,
        "runtime": program.runtime,
        "target": program.target,
        "precision": program.precision,
        "certified": _certified_in(cut, program),
        "disk_bytes": sum(path.stat().st_size for path in paths if path.is_file()),
        "files": ", ".join(program.files.values()) + ("" if all(path.is_file() for path in paths) else " (missing)"),
    }


def _certified_in(cut: Optional[Cut], program: ProgramFiles) -> str:
    """The runtimes in which export ran this half against the whole; none where it is for another CPU."""
    if cut is None:
        return ""
    made = cut.certificates
    if program.part == TAIL:
        found = [c.tail_runtime for c in made] if runs_here(program) else []
    else:
        found = [c.runtime for c in made if (c.target, c.precision) == (program.target, program.precision)]
    readers = [name for name, kind in RUNTIMES.items() if kind.reads == program.runtime] or [program.runtime]
    return ", ".join(name for name in readers if name in found)


def _shape(sizes: Sequence[int]) -> str:
    return "×".join("N" if size < 0 else str(size) for size in sizes)
