"""A function's typed signature and Google docstring as a strict command line with YAML configs.

Every parameter is an option: `input_hw` is `--input-hw` on the command line and `input_hw` in a config;
a positional-only parameter (before `/`) is given by position. `--config FILE` is read first, so what stands on
the command line wins. A key that nothing asks for is an error that names the nearest one.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import typing
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import docstring_parser
from jsonargparse import ArgumentParser

from ppsplit.errors import ConfigError
from ppsplit.nearest import nearest

Names = List[str]
"""Several names: `A,B` on the command line, a list in a config."""

_CONFIG, _PRINT_CONFIG = "config", "print_config"
_SWITCHES = ("--help", "-h")


def parse(function: Callable[..., Any], argv: Sequence[str], prog: str = "ppsplit") -> inspect.BoundArguments:
    """What `argv` and the configs it names say for each parameter of `function`.

    Args:
        function: All its parameters have types; Google docstring.
        argv: Without the program's name.
        prog: The program's name in `--help`.

    Returns:
        All arguments, defaults included; call it as `function(*bound.args, **bound.kwargs)`.

    Raises:
        ConfigError: An unknown key, or a value of the wrong type.
        SystemExit: After `--help` or `--print-config`, with code 0.
    """
    signature, hints = inspect.signature(function), typing.get_type_hints(function)
    parser = _parser(function, signature, hints, prog)
    try:
        values = parser.parse_args(_tokens(argv, signature, hints))
    except argparse.ArgumentError as error:
        raise ConfigError(_one_line(str(error), hints, list(signature.parameters))) from error
    bound = signature.bind_partial()
    bound.arguments.update({name: values[name] for name in signature.parameters})
    return bound


def run(function: Callable[..., Any], argv: Sequence[str], prog: str = "ppsplit") -> Any:
    """`function` with what `argv` says. Raises ConfigError, SystemExit and what the function raises."""
    bound = parse(function, argv, prog)
    return function(*bound.args, **bound.kwargs)


def _parser(
    function: Callable[..., Any], signature: inspect.Signature, hints: Dict[str, Any], prog: str
) -> ArgumentParser:
    doc = docstring_parser.parse(function.__doc__ or "")
    helps = {p.arg_name: p.description or "" for p in doc.params}
    parser = ArgumentParser(
        prog=prog,
        description=doc.short_description,
        exit_on_error=False,
        allow_abbrev=False,
        add_help=True,
        print_config="--print-%s",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below, underscores in names.")
    for name, parameter in signature.parameters.items():
        described: Dict[str, Any] = {"type": hints[name], "help": helps.get(name, "")}
        if parameter.default is not parameter.empty:
            described["default"] = parameter.default
        if parameter.kind is parameter.POSITIONAL_ONLY:
            if "default" in described:
                described["nargs"] = "?"
            parser.add_argument(name, **described)
        else:
            action = parser.add_argument(_option(name), required="default" not in described, **described)
            action.option_strings = [_option(name)]  # without the library's `--cut+`, which `_tokens` refuses
    return parser


def _tokens(argv: Sequence[str], signature: inspect.Signature, hints: Dict[str, Any]) -> List[str]:
    """`argv` with configs first, one token for each option, and values as the parser reads them."""
    by_position = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    options = {_option(name): name for name in signature.parameters if name not in by_position}
    configs: List[str] = []
    others: List[str] = []
    waiting = list(argv)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--") or token in _SWITCHES:
            others.append(token)
            continue
        written, has_value, value = token.partition("=")
        option = "--" + written[2:].replace("_", "-")
        if option == _option(_PRINT_CONFIG):
            others.append(token)
        elif option == _option(_CONFIG):
            configs += [option, _checked_config(value if has_value else _next(waiting, option))]
        elif option in options:
            hint = hints[options[option]]
            is_switch = hint is bool and not has_value and (not waiting or waiting[0] not in ("true", "false"))
            text = "true" if is_switch else value if has_value else _next(waiting, option)
            others.append(f"{option}={_value(text, hint)}")
        else:
            raise ConfigError(f"there is no option {written}{nearest(option, [*options, _option(_CONFIG)])}")
    return configs + others


def _checked_config(path: str) -> str:
    """`path`, unless it is a file that holds no text or no keys, of which the library makes no clear line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:
        return path  # the library says why
    except ValueError as error:
        raise ConfigError(f"the config {path} is not text in UTF-8 ({error}); give a YAML file") from error
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        raise ConfigError(f"the config {path} is empty; write `key: value` lines, or leave --config out")
    return path


def _next(waiting: List[str], option: str) -> str:
    if not waiting or (waiting[0].startswith("--") and len(waiting[0]) > 2):
        raise ConfigError(f"{option} needs a value; write {option} VALUE")
    return waiting.pop(0)


def _value(text: str, hint: Any) -> str:
    """`A,B` as a JSON list where the parameter takes several values, else as it is."""
    hint = next((h for h in typing.get_args(hint) if _is_sequence(h)), hint)
    if not _is_sequence(hint) or text.startswith("["):
        return text
    items = [item.strip() for item in text.split(",") if item.strip()]
    if typing.get_args(hint)[:1] == (str,):
        return json.dumps(items)
    return f"[{', '.join(items)}]"


def _is_sequence(hint: Any) -> bool:
    return typing.get_origin(hint) in (list, tuple)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _one_line(message: str, hints: Dict[str, Any], known: List[str]) -> str:
    """The library's message as one line that says what was wrong and what was expected."""
    unknown = re.search(r"Option '([^']+)' is not accepted", message)
    if unknown:
        return f"there is no key {unknown[1]!r}{nearest(unknown[1], known)}"
    wrong = re.search(r'Parser key "(\w+)":.*(?:Got|Given) value: ([^\n]*)', message, re.DOTALL)
    if wrong and wrong[1] in hints:
        return f"{wrong[1]} must be {_spelled(hints[wrong[1]])}, not {wrong[2].strip()!r}"
    return " ".join(message.split())


_ONE = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_MANY = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}


def _spelled(hint: Any) -> str:
    """A type as a reader would say it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        return " or ".join(_spelled(a) for a in arguments if a is not type(None))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is dict:
        return f"names with {_MANY.get(arguments[1], 'values')} as {{NAME: VALUE}}"
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return f"a list of {_MANY.get(arguments[0], 'values')}"
    if origin is tuple:
        return f"{len(arguments)} {_MANY.get(arguments[0], 'values')}"
    return _ONE.get(hint, str(hint))
