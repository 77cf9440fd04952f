"""A quantization report as one HTML file that needs nothing else: pictures inside, no script, no address."""

from __future__ import annotations

import base64
from html import escape
from typing import Any, Callable, List, Mapping, Sequence

from ppsplit.evaluate.quant_plots import report_pictures

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.6rem; border-bottom: 2px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: .6rem 0 1.4rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td.number, th.number { text-align: right; } tr:hover { background: var(--soft); }
tr.worst td { font-weight: 600; }
figure { margin: 1rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 6px; }
figcaption { font-size: 13px; opacity: .8; } dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
"""
COSTS = {
    "name": "head",
    "bytes": "bytes loaded",
    "packed_bytes": "bytes, integers beside",
    "bytes_ratio": "of fp32",
    "matrix_work": "convolutions run in",
    "says": "which means",
    "head_ms": "ms",
    "head_ratio": "of fp32's ms",
    "peak_mib": "peak MiB",
    "head_mib": "of it the head",
}
ACCURACY = {
    "name": "head",
    "output_error": "relative squared error",
    "output_sqnr_db": "SQNR dB",
    "ap": "AP",
    "ap50": "AP50",
    "ap_points": "points from fp32",
    "ap_points_low": "95 % from",
    "ap_points_high": "to",
    "images": "images",
}
LAYER = {
    "blame_rank": "blame",
    "layer": "layer",
    "weight_bits": "weight bits",
    "weight_scale": "weight scale",
    "activation_bits": "input bits",
    "activation_scale": "input scale",
    "activation_clip": "input clip",
    "sqnr_db": "SQNR dB",
    "error_recovered": "error recovered",
    "error_recovered_share": "of the error",
    "ap_points_recovered": "AP points recovered",
}
Cell = Callable[[Any], str]


def quant_page(about: Mapping[str, Any], cuts: Sequence[Mapping[str, Any]], cell: Cell) -> str:
    """The page.

    Args:
        about: how it was made.
        cuts: reports as `quant_report` returns them.
        cell: a value as tables show it.
    """
    title = f"Quantization of {about['model']}"
    facts = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(cell(v))}</dd>" for k, v in about.items())
    body = "".join(_section(report, cell) for report in cuts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1><dl>{facts}</dl>{body}</body></html>\n"
    )


def _section(report: Mapping[str, Any], cell: Cell) -> str:
    parts = [f"<h2>Cut {escape(report['cut'])} ({report['edge_macs_share']:.0%} of the work on the edge)</h2>"]
    parts.append("<h3>What follows</h3><ul>")
    parts += [f"<li>{escape(sentence)}</li>" for sentence in report["findings"]]
    parts.append("</ul><h3>Files and what runs of them</h3>" + _table(report["heads"], COSTS, cell))
    parts.append("<h3>What comes out</h3>" + _table(report["heads"], ACCURACY, cell))
    for caption, png in report_pictures(report).items():
        data = base64.b64encode(png).decode("ascii")
        label = escape(caption)
        image = f'<img alt="{label}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{label}</figcaption></figure>")
    for precision in dict.fromkeys(row["precision"] for row in report["layers"]):
        rows = [row for row in report["layers"] if row["precision"] == precision]
        parts.append(f"<h3>Layers: {escape(precision)}</h3>" + _table(rows, LAYER, cell))
    return "".join(parts)


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], cell: Cell) -> str:
    shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
    classes = {n: "number" if all(not isinstance(r.get(n), (str, dict)) for r in rows) else "" for n in shown}
    lines: List[str] = ["".join(f'<th class="{classes[n]}">{escape(columns[n])}</th>' for n in shown)]
    for row in rows:
        cells = "".join(f'<td class="{classes[n]}">{escape(cell(row.get(n)))}</td>' for n in shown)
        lines.append(cells)
    marks = [' class="worst"' if row.get("blame_rank") == 1 else "" for row in rows]
    body = "".join(f"<tr{mark}>{line}</tr>" for mark, line in zip(marks, lines[1:]))
    return f'<div class="scroll"><table><thead><tr>{lines[0]}</tr></thead><tbody>{body}</tbody></table></div>'
