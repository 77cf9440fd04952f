"""Several bundles, and new versions of them under load."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest

from ppsplit.bundle import Bundle, write_manifest
from ppsplit.cloud.refusal import RefusedError
from ppsplit.cloud.shelf import Shelf
from ppsplit.errors import BundleError, ConfigError
from tests.cloud.requests import features_message


def new_version(path: Path, name: str) -> str:
    """Replace the bundle by one with another fingerprint; returns that."""
    bundle = Bundle.open(path)
    return write_manifest(path, dataclasses.replace(bundle.manifest, name=name)).fingerprint


@pytest.fixture
def path(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "served"))


@pytest.fixture
def shelf(path: Path) -> Iterator[Shelf]:
    made = Shelf([path], unload_after_s=0.0)
    made.warm_up()
    yield made
    made.close()


def code(shelf: Shelf, fingerprint: Any) -> str:
    try:
        with shelf.lease(fingerprint):
            return "ok"
    except RefusedError as error:
        return error.code


def test_bundles_are_found_by_fingerprint(tiny_bundle: Path, raw_bundle: Path) -> None:
    shelf = Shelf([tiny_bundle, raw_bundle])
    first, second = (Bundle.open(path).manifest for path in (tiny_bundle, raw_bundle))
    assert not shelf.ready
    shelf.warm_up()
    assert shelf.ready
    assert shelf.listing() == [
        {"name": manifest.name, "fingerprint": manifest.fingerprint, "ready": True} for manifest in (first, second)
    ]
    for path, manifest in ((tiny_bundle, first), (raw_bundle, second)):
        with shelf.lease(manifest.fingerprint) as engine:
            result = engine.infer(features_message(path))
            assert (result.detections is None) == (manifest is second)
        assert shelf.manifest(manifest.fingerprint) == manifest
    assert shelf.manifest() == first
    assert code(shelf, "f" * 64) == "wrong_bundle"
    assert code(shelf, None) == "bad_request"  # which of the two?
    with pytest.raises(RefusedError) as caught:
        shelf.manifest("../x")
    assert caught.value.status == 404
    shelf.close()


def test_nothing_to_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no bundle is given"):
        Shelf([])
    with pytest.raises(BundleError):
        Shelf([tmp_path])


def test_a_new_version_is_taken_up_and_the_old_one_goes_when_idle(shelf: Shelf, path: Path) -> None:
    old = Bundle.open(path).manifest.fingerprint
    message = features_message(path)
    new = new_version(path, "second")
    assert code(shelf, new) == "wrong_bundle"
    with shelf.lease(old) as engine:
        shelf.look_again()
        # both are served, the new one is what is served by default; the old one stays while it is in use
        assert [code(shelf, fingerprint) for fingerprint in (old, new, None)] == ["ok"] * 3
        assert [one["name"] for one in shelf.listing()] == ["second", "bundle"]
        assert engine.infer(message).detections is not None
        assert shelf.manifest().fingerprint == new
        shelf.look_again()
        assert code(shelf, old) == "ok"
    shelf.look_again()
    assert [code(shelf, fingerprint) for fingerprint in (old, new)] == ["wrong_bundle", "ok"]
    assert (len(shelf), shelf.ready) == (1, True)


def test_it_stays_as_long_as_it_is_asked_for(path: Path) -> None:
    shelf = Shelf([path], unload_after_s=3600)
    shelf.warm_up()
    old = Bundle.open(path).manifest.fingerprint
    new_version(path, "second")
    for _ in range(3):
        shelf.look_again()
        assert code(shelf, old) == "ok"
    shelf.close()


def test_a_version_that_cannot_be_served_changes_nothing(shelf: Shelf, path: Path, caplog) -> None:
    old = Bundle.open(path).manifest.fingerprint
    manifest = (path / "manifest.json").read_bytes()
    (path / "manifest.json").write_bytes(manifest[:100])
    shelf.look_again()
    shelf.look_again()
    assert caplog.text.count("cannot be served") == 1
    (path / "manifest.json").write_bytes(manifest)
    new, params = new_version(path, "half copied"), (path / "full.pdiparams").read_bytes()
    (path / "full.pdiparams").write_bytes(params[:-1])
    shelf.look_again()
    assert "is damaged" in caplog.text
    assert [code(shelf, fingerprint) for fingerprint in (old, new, None)] == ["ok", "wrong_bundle", "ok"]
    with shelf.lease(old) as engine:  # although its files are gone: all of them were loaded
        message = dataclasses.replace(features_message(path), bundle=old)
        assert engine.infer(message).detections is not None
    (path / "full.pdiparams").write_bytes(params)
    shelf.look_again()  # the copy is complete now
    assert code(shelf, new) == "ok"


def test_no_request_is_lost_while_versions_change(shelf: Shelf, path: Path) -> None:
    ended, outcomes = threading.Event(), []  # type: threading.Event, List[str]

    def ask() -> None:
        while not ended.is_set():
            fingerprint = shelf.manifest().fingerprint
            message = dataclasses.replace(template, bundle=fingerprint)
            try:
                with shelf.lease(fingerprint) as engine:
                    outcomes.append("ok" if engine.infer(message).detections else "nothing")
            except RefusedError as error:
                outcomes.append(error.code)

    template = features_message(path)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(3):
        new_version(path, f"version {number}")
        shelf.look_again()
    ended.set()
    for thread in threads:
        thread.join()
    # between asking for the fingerprint and using it two versions may pass; then it is said, and asked anew
    assert set(outcomes) <= {"ok", "wrong_bundle"}
    assert outcomes.count("ok") > 10
    assert outcomes.count("wrong_bundle") <= 9
