"""What the doctor says of a program, against what Paddle Lite does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest

from ppsplit.doctor import CAVEAT, FATAL, FINE, Finding, exit_code
from ppsplit.doctor.lite_ops import lite_ops
from ppsplit.doctor.operators import operator_findings
from ppsplit.doctor.rules import RULES
from ppsplit.errors import ConversionError
from ppsplit.export.lite import TARGETS, convert_to_nb
from ppsplit.export.lite_ready import read_program
from ppsplit.paddle_first import paddle
from tests.doctor.conftest import Save

functional = paddle.nn.functional

# What it is, the function, what the doctor must say for x86 and for arm.
CASES: Dict[str, Any] = {
    "relu": (functional.relu, FINE, FINE),
    "relu6, mended": (functional.relu6, FINE, FINE),
    "flatten and bmm, mended": (lambda x: paddle.bmm(*[paddle.flatten(x[:, :, :8, :8], 2)[:, :, :8]] * 2), FINE, FINE),
    "erfinv": (paddle.erfinv, FATAL, FATAL),
    "einsum": (lambda x: paddle.einsum("nchw,ndhw->ncd", x, x), FATAL, FATAL),
    "softsign": (functional.softsign, FINE, FATAL),
    "sign": (paddle.sign, FATAL, FINE),
    "layer norm without weights": (lambda x: functional.layer_norm(x, [48]), FATAL, FATAL),
    "all": (lambda x: paddle.all(x > 0), FATAL, FATAL),
    "sum of everything": (paddle.sum, CAVEAT, CAVEAT),
    "mean of everything": (paddle.mean, CAVEAT, CAVEAT),
    "double": (lambda x: x.astype("float64").astype("float32"), CAVEAT, CAVEAT),
    "pad with 3": (lambda x: functional.pad(x, [1, 1, 1, 1], value=3.0), CAVEAT, CAVEAT),
    "pad with 0": (lambda x: functional.pad(x, [1, 1, 1, 1]), FINE, FINE),
    "modulo": (lambda x: paddle.mod(x, paddle.full([1], 2.0)), CAVEAT, CAVEAT),
    "scalar in a stack": (lambda x: x + paddle.stack([paddle.full([], 2.0)]), CAVEAT, CAVEAT),
    "scalar in a product": (lambda x: x * paddle.full([], 2.0), FINE, FINE),
    "matmul of a convolution": (lambda x: paddle.matmul(x, functional.relu(x), transpose_y=True), CAVEAT, CAVEAT),
    "noise": (lambda x: x + paddle.randn([1, 8, 32, 48]), CAVEAT, CAVEAT),
}


def said_of(model: Path, target: str, **others: Any) -> List[Finding]:
    return operator_findings(
        read_program(model), lite_ops(target), target, others.get("stages", {}), others.get("heads")
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_the_doctor_is_right(name: str, target: str, save: Save, tmp_path: Path) -> None:
    function, *expected = CASES[name]
    folder = save(function)
    findings = said_of(folder / "model.pdmodel", target)
    states = {finding.state for finding in findings}
    wanted = expected[("x86", "arm").index(target)]
    assert next(state for state in (FATAL, CAVEAT, FINE) if state in states) == wanted
    if wanted == FATAL:
        with pytest.raises(ConversionError):
            convert_to_nb(folder / "model", tmp_path / "model.nb", target)
    else:
        convert_to_nb(folder / "model", tmp_path / "model.nb", target)


def test_trouble_says_where_and_what_to_do(save: Save) -> None:
    folder = save(lambda x: paddle.erfinv(paddle.einsum("nchw,nchw->nchw", x, x)))
    stages = {"stem": "conv2d_0.tmp_1", "deep": "erfinv_0.tmp_0", "deep.conv": "conv2d_1.tmp_1"}
    summary, *rows = said_of(folder / "model.pdmodel", "arm", stages=stages)
    assert summary.state == FATAL and summary.found.endswith("trouble with 2 kinds")
    found = {row.check: row for row in rows}
    assert found["operator erfinv"].found.endswith("erfinv_0.tmp_0 (stage deep)")
    assert found["operator einsum"].cure == "write it as transpose and matmul"


def test_what_only_tails_have_is_a_caveat(save: Save) -> None:
    model = save(paddle.erfinv) / "model.pdmodel"
    for made, state in (({"erfinv_0.tmp_0"}, FATAL), ({"conv2d_0.tmp_0"}, CAVEAT)):
        rows = said_of(model, "arm", heads={"stem": frozenset(made)})
        assert rows[-1].state == state
    assert "tails only" in rows[-1].found and "--with-tail" in rows[-1].found


def test_many_places_are_counted(save: Save) -> None:
    def often(x: Any) -> Any:
        for _ in range(5):
            x = paddle.erfinv(x)
        return x

    assert said_of(save(often) / "model.pdmodel", "arm")[-1].found.endswith("and 2 more")


def test_every_rule_says_what_to_do() -> None:
    for rule in RULES:
        assert rule.state in (CAVEAT, FATAL) and rule.what and rule.cure


@pytest.mark.parametrize(
    ("states", "code"), [((), 0), ((FINE,), 0), ((FINE, CAVEAT), 2), ((CAVEAT, FATAL), 1), ((FATAL, FINE), 1)]
)
def test_exit_codes(states: Any, code: int) -> None:
    assert exit_code([Finding("check", state, "found") for state in states]) == code
