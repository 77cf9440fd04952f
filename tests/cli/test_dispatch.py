"""Verbs, exit codes and the one line an error gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

from ppsplit import cli
from ppsplit.cli import VERBS, Verb, main
from ppsplit.errors import BundleError

ROOT = Path(__file__).resolve().parents[2]


def succeed(count: int = 1) -> None:
    """Print a number.

    Args:
        count: The number.
    """
    print(f"count {count}")


def fail() -> None:
    """Fail on purpose."""
    raise BundleError("no bundle\nat nowhere")


def interrupt() -> None:
    """Be interrupted."""
    raise KeyboardInterrupt


def refuse() -> int:
    """Return an exit code."""
    return 3


def raw(argv: List[str], prog: str) -> int:
    """Read its own arguments."""
    print(prog, argv)
    return 0


@pytest.fixture(autouse=True)
def verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (succeed, fail, interrupt, refuse):
        monkeypatch.setitem(VERBS, function.__name__, Verb(__name__, function.__name__, "for the test"))
    monkeypatch.setitem(VERBS, "raw", Verb(__name__, "raw", "for the test", reads_argv=True))
    monkeypatch.setitem(VERBS, "unmet", Verb("ppsplit_is_without_this", "f", "for the test"))
    sys.modules.setdefault(__name__, sys.modules[succeed.__module__])


def test_a_verb_gets_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["succeed", "--count", "4"]) == 0
    assert capsys.readouterr().out == "count 4\n"


def test_a_verb_may_return_an_exit_code() -> None:
    assert main(["refuse"]) == 3


def test_an_error_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fail"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: no bundle at nowhere\n")


@pytest.mark.parametrize("argv", [["fail", "--debug"], ["--debug", "fail"]])
def test_debug_shows_where_it_came_from(argv: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and error.endswith("error: no bundle at nowhere\n")


def test_an_interrupt_is_130() -> None:
    assert main(["interrupt"]) == 130


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["--debug"]])
def test_alone_it_lists_the_verbs(argv: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in VERBS)


@pytest.mark.parametrize(("typed", "meant"), [("exprot-split", "export-split"), ("export_split", "export-split")])
def test_a_mistyped_verb_names_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 1
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_a_verb_that_reads_its_own_arguments_gets_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["raw", "--debug", "x"]) == 0
    assert capsys.readouterr().out == "ppsplit raw ['--debug', 'x']\n"


def test_a_missing_package_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unmet"]) == 1
    assert "unmet needs the package ppsplit_is_without_this" in capsys.readouterr().err


def test_help_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["succeed", "--help"]) == 0
    assert "--count" in capsys.readouterr().out


def run(*command: Any, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_verb_is_a_tool_and_every_tool_a_verb() -> None:
    builtin = set(cli.VERBS) - {"succeed", "fail", "interrupt", "refuse", "raw", "unmet"}
    assert {path.stem.replace("_", "-") for path in (ROOT / "tools").glob("*.py")} == builtin


def test_tool_module_and_command_are_one(tmp_path: Path) -> None:
    wrong = ("inspect", "nowhere")
    results = [
        run(ROOT / "tools" / "inspect.py", "nowhere", cwd=tmp_path),
        run("-m", "ppsplit", *wrong, cwd=tmp_path),
        run("-c", "import sys; from ppsplit.cli import main; sys.exit(main())", *wrong, cwd=tmp_path),
    ]
    assert {result.returncode for result in results} == {1}
    assert len({result.stderr for result in results}) == 1
    assert results[0].stderr.startswith("error: no bundle at nowhere")


def test_the_client_loads_nothing_a_board_lacks(tmp_path: Path) -> None:
    code = (
        "import sys; from ppsplit.cli import main; main(['client', '--help']); "
        "print(sorted({'jsonargparse', 'yaml', 'rich', 'paddle', 'flask', 'requests'} & set(sys.modules)))"
    )
    assert run("-c", code, cwd=tmp_path).stdout.endswith("[]\n")
