"""The bundles that are served, by fingerprint; new versions are taken up while the old ones go on being served."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ppsplit.bundle import MANIFEST, Bundle, Manifest
from ppsplit.cloud.engine import DEFAULT_OPTIONS, Engine
from ppsplit.cloud.programs import EngineOptions, check_held
from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import ConfigError

UNLOAD_AFTER_S = 60.0
LOOK_EVERY_S = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Held:
    engine: Engine
    users: int = 0
    last_used_s: float = field(default_factory=time.monotonic)


class Shelf:
    """Engines by fingerprint.

    What lies at each path is the current version there. When its manifest changes, the new version is loaded and
    warmed up beside the old one, then becomes the current one; the old one is held for those who still ask for it,
    until nobody did for a while.

    Args:
        paths: folders of bundles, the default one first.
        options: for every engine.
        on_batch: told the number of images of every batch that ran.
        unload_after_s: how long an old version is held after it was last asked for.

    Raises:
        BundleError: no bundle at a path, or it has nothing for the runtime.
        ConfigError: no path, or max_batch below 1.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        options: EngineOptions = DEFAULT_OPTIONS,
        on_batch: Callable[[int], None] = lambda images: None,
        unload_after_s: float = UNLOAD_AFTER_S,
    ) -> None:
        if not paths:
            raise ConfigError("no bundle is given to serve; expected one or more folders")
        self._options, self._on_batch, self._unload_after_s = options, on_batch, unload_after_s
        self._lock = threading.Lock()
        self._held: Dict[str, _Held] = {}
        self._current: Dict[Path, str] = {}
        self._stamps: Dict[Path, Tuple[int, ...]] = {}
        self._complaints: Dict[Path, str] = {}
        self._ended = threading.Event()
        for path in map(Path, paths):
            self._stamps[path] = _stamp(path)
            self._put(path, self._engine(Bundle.open(path)))

    def __len__(self) -> int:
        return len(self._held)

    @property
    def ready(self) -> bool:
        """Whether a warm-up inference has passed for the current version of every bundle."""
        with self._lock:
            return all(self._held[fingerprint].engine.ready for fingerprint in self._current.values())

    @property
    def max_body_bytes(self) -> int:
        """No message for any of the bundles can be longer."""
        with self._lock:
            return max(held.engine.max_body_bytes for held in self._held.values())

    def listing(self) -> List[Dict[str, Any]]:
        """Name, fingerprint and readiness of all that are held, the current ones first."""
        with self._lock:
            order = list(dict.fromkeys([*self._current.values(), *self._held]))
            engines = [self._held[fingerprint].engine for fingerprint in order]
        return [
            {"name": e.bundle.manifest.name, "fingerprint": e.bundle.manifest.fingerprint, "ready": e.ready}
            for e in engines
        ]

    def manifest(self, fingerprint: Optional[str] = None) -> Manifest:
        """Of that bundle, by default of the first path's. Raises RefusedError: it is not held."""
        with self._lock:
            held = self._held.get(fingerprint or next(iter(self._current.values())))
        if held is None:
            raise RefusedError(404, "not_found", f"no bundle {fingerprint!r:.99} is served; see /v1/bundles")
        return held.engine.bundle.manifest

    @contextlib.contextmanager
    def lease(self, fingerprint: Optional[str]) -> Iterator[Engine]:
        """The engine for a bundle, which stays while the block runs.

        Args:
            fingerprint: None for the only one that is served.

        Raises:
            RefusedError: it is not held, or there are several to choose from.
        """
        with self._lock:
            held = self._find(fingerprint)
            held.users += 1
        try:
            yield held.engine
        finally:
            with self._lock:
                held.users -= 1
                held.last_used_s = time.monotonic()

    def warm_up(self) -> None:
        """Run every current version once. Raises what `Engine.warm_up` does."""
        with self._lock:
            engines = [self._held[fingerprint].engine for fingerprint in self._current.values()]
        for engine in engines:
            engine.warm_up()

    def watch(self) -> None:
        """Look for new versions until `close`."""
        while not self._ended.wait(LOOK_EVERY_S):
            self.look_again()

    def look_again(self) -> None:
        """Take up new versions, let go of old ones that are idle. A version that cannot be served changes nothing."""
        for path in list(self._stamps):
            stamp = _stamp(path)
            if stamp != self._stamps[path]:
                self._take_up(path, stamp)
        for engine in self._let_go():
            name, fingerprint = engine.bundle.manifest.name, engine.bundle.manifest.fingerprint
            engine.close()
            log.warning("%s %s is no longer asked for and was unloaded", name, fingerprint[:12])

    def close(self) -> None:
        """End watching, and every engine after what it has begun."""
        self._ended.set()
        with self._lock:
            held = list(self._held.values())
        for one in held:
            one.engine.close()

    def _find(self, fingerprint: Optional[str]) -> _Held:
        if fingerprint is None:
            if len(self._current) > 1:
                raise RefusedError(
                    400,
                    "bad_request",
                    "several bundles are served; say which by ?bundle=FINGERPRINT, see /v1/bundles",
                )
            fingerprint = next(iter(self._current.values()))
        held = self._held.get(fingerprint)
        if held is None:
            served = ", ".join(f"{key[:12]!r} ({one.engine.bundle.manifest.name})" for key, one in self._held.items())
            raise RefusedError(
                409,
                "wrong_bundle",
                f"the features are of bundle {fingerprint[:12]!r}, served is {served}; "
                "give both halves the same bundle",
            )
        return held

    def _take_up(self, path: Path, stamp: Tuple[int, ...]) -> None:
        try:
            bundle = Bundle.open(path)
            known = bundle.manifest.fingerprint in self._held
            engine = self._held[bundle.manifest.fingerprint].engine if known else self._engine(bundle)
            if not known:
                try:
                    engine.warm_up()
                except BaseException:
                    engine.close()
                    raise
        except Exception as error:  # a folder in the middle of being copied is tried again the next time
            if self._complaints.get(path) != str(error):
                log.error("the new version at %s cannot be served, the old one goes on: %s", path, error)
            self._complaints[path] = str(error)
            return
        self._complaints.pop(path, None)
        self._stamps[path] = stamp
        self._put(path, engine)
        log.warning("%s %s is served from now on", bundle.manifest.name, bundle.manifest.fingerprint[:12])

    def _engine(self, bundle: Bundle) -> Engine:
        check_held(bundle, self._options.runtime)
        return Engine(bundle, self._options, self._on_batch)

    def _put(self, path: Path, engine: Engine) -> None:
        fingerprint = engine.bundle.manifest.fingerprint
        with self._lock:
            self._held.setdefault(fingerprint, _Held(engine))
            self._current[path] = fingerprint

    def _let_go(self) -> List[Engine]:
        oldest_s = time.monotonic() - self._unload_after_s
        with self._lock:
            idle = [
                fingerprint
                for fingerprint, held in self._held.items()
                if fingerprint not in self._current.values() and not held.users and held.last_used_s <= oldest_s
            ]
            return [self._held.pop(fingerprint).engine for fingerprint in idle]


def _stamp(path: Path) -> Tuple[int, ...]:
    """Changes when the manifest does."""
    try:
        status = (path / MANIFEST).stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino
