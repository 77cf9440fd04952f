"""Bearer tokens: who gets in, and a file that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ppsplit.cloud.refusal import RefusedError
from ppsplit.cloud.tokens import Tokens
from ppsplit.errors import ConfigError

FIRST, SECOND = "a-token-of-24-characters", "another-token-of-many-characters"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"# boards\n{FIRST}\n\n  {SECOND}  \n")
    return file


def let_in(tokens: Tokens, authorization: Optional[str]) -> bool:
    try:
        tokens.check(authorization)
        return True
    except RefusedError as error:
        assert (error.status, error.code) == (401, "unauthorized")
        assert "token-of" not in str(error)
        return False


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, False),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        (f"Bearer {FIRST}", True),
        (f"bearer   {SECOND}", True),
        (f"Basic {FIRST}", False),
        (FIRST, False),
        (f"Bearer {FIRST}x", False),
        (f"Bearer {FIRST[:-1]}", False),
        (f"Bearer {FIRST} {SECOND}", False),
        ("Bearer # boards", False),
        ("Bearer \udcff\u00e9", False),
    ],
)
def test_who_gets_in(path: Path, authorization: Optional[str], expected: bool) -> None:
    assert let_in(Tokens(path), authorization) == expected


def test_a_clients_name_tells_nothing_of_the_token(path: Path) -> None:
    tokens = Tokens(path)
    names = {tokens.check(f"Bearer {token}") for token in (FIRST, SECOND)}
    assert len(names) == 2
    assert all(name.startswith("token-") and len(name) == 14 for name in names)
    assert not any(part in name for name in names for part in (FIRST[:4], SECOND[:4]))


def test_the_file_is_read_again_when_it_changes(path: Path) -> None:
    tokens = Tokens(path)
    path.write_text(SECOND + "\n")
    assert not let_in(tokens, f"Bearer {FIRST}")
    assert let_in(tokens, f"Bearer {SECOND}")
    path.write_text("now-this-one-is-right\n")
    assert not let_in(tokens, f"Bearer {SECOND}")
    assert let_in(tokens, "Bearer now-this-one-is-right")


@pytest.mark.parametrize("damage", ["", "short\n", None])
def test_a_file_that_becomes_senseless_changes_nothing(path: Path, damage: Optional[str], caplog) -> None:
    tokens = Tokens(path)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    assert let_in(tokens, f"Bearer {FIRST}")
    assert not let_in(tokens, "Bearer short")
    assert "stay as they were" in caplog.text


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"short\n", b"two words in one line\n", b"\xff\xfe\x00"])
def test_files_without_usable_tokens_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokens"
    with pytest.raises(ConfigError, match="cannot read"):
        Tokens(file)
    file.write_bytes(content)
    with pytest.raises(ConfigError):
        Tokens(file)
