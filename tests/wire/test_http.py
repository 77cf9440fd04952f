"""Headers of FORMAT.md section 6: the digest's published example, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.errors import WireError
from ppsplit.wire.http import (
    MAX_TIMEOUT_MS,
    check_request_id,
    content_digest,
    digest_matches,
    may_retry,
    new_request_id,
    parse_retry_after_s,
    parse_timeout_ms,
)

# RFC 9530, appendix D: the JSON object with a line break behind it
EXAMPLE = b'{"hello": "world"}\n'
EXAMPLE_DIGEST = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def test_the_digest_is_that_of_the_rfc() -> None:
    assert content_digest(EXAMPLE) == EXAMPLE_DIGEST
    assert digest_matches(EXAMPLE, EXAMPLE_DIGEST)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_digest_matches_its_own_body_alone(body: bytes, other: bytes) -> None:
    assert digest_matches(body, content_digest(body))
    assert digest_matches(other, content_digest(body)) == (other == body)


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (None, False),
        ("", False),
        ("sha-256", False),
        ("sha-256=::", False),
        ("sha-256=:!!!:", False),
        ("sha-256=:é:", False),
        ("md5=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", False),
        (EXAMPLE_DIGEST.replace("RK", "KR"), False),
        (EXAMPLE_DIGEST[:-3] + ":", False),
        (f"sha-512=:AAAA:, {EXAMPLE_DIGEST}", True),
        (f" {EXAMPLE_DIGEST} ", True),
        (f"{EXAMPLE_DIGEST};a=1", True),
    ],
)
def test_digests_right_wrong_and_senseless(header, matches: bool) -> None:
    assert digest_matches(EXAMPLE, header) == matches


@given(st.text(max_size=99))
def test_any_text_is_no_match_and_no_crash(header: str) -> None:
    assert not digest_matches(EXAMPLE, header)


def test_request_ids() -> None:
    assert check_request_id(new_request_id()) != new_request_id()
    assert check_request_id("frame-7.2_a") == "frame-7.2_a"
    for wrong in ("", " ", "a b", "a\n", "ä", "a" * 65, "a/b"):
        with pytest.raises(WireError, match="PPSplit-Request-Id"):
            check_request_id(wrong)


def test_timeouts() -> None:
    assert [parse_timeout_ms(text) for text in ("1", " 250 ", "007")] == [1, 250, 7]
    assert parse_timeout_ms("999999999") == MAX_TIMEOUT_MS
    for wrong in ("", "0", "-1", "1.5", "1e3", "+5", "five", "٣", "9" * 5000, "1, 2"):
        with pytest.raises(WireError, match="PPSplit-Timeout-Ms"):
            parse_timeout_ms(wrong)


def test_retry_after() -> None:
    cases = {"3": 3, " 1 ": 1, "0": 0, "": None, "-1": None, "Wed, 21 Oct 2026 07:28:00 GMT": None, "9" * 99: None}
    assert {text: parse_retry_after_s(text) for text in cases} == cases
    assert parse_retry_after_s(None) is None


def test_what_may_be_sent_again() -> None:
    assert all(may_retry(status) for status in (408, 425, 429, 500, 502, 503, 504))
    assert all(may_retry(400, code) for code in ("bad_digest", "bad_frame", "bad_header", "bad_request"))
    assert may_retry(415, "wrong_content_type")
    assert not any(may_retry(status, "bad_digest") for status in (401, 404, 409, 413, 415, 422))
    assert not may_retry(400) and not may_retry(415)


def test_it_is_light() -> None:
    code = "import sys, ppsplit.wire.http; sys.exit(bool({'flask', 'urllib3', 'numpy', 'paddle'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
