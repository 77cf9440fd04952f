"""COCO in small, from a server of our own: broken off anywhere, wrong, hostile, and nothing twice."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, List

import numpy as np
import pytest

from ppsplit.cli import download_coco as verb
from ppsplit.cli import main
from ppsplit.data import coco_download, unzip
from ppsplit.data.coco_download import ARCHIVES, CocoArchive, CocoPlan, download_coco
from ppsplit.data.layout import find_split
from ppsplit.errors import ConfigError, DataError, DownloadError
from ppsplit.zoo import sources
from tests.zoo.file_server import FileServer, serving_files

ROOT = Path(__file__).resolve().parents[2]
IMAGES = {f"val2017/{number:012d}.jpg": np.random.RandomState(number).bytes(20_000) for number in range(5)}
TRAIN = {f"train2017/{number:012d}.jpg": np.random.RandomState(9 + number).bytes(9_000) for number in range(3)}
INSTANCES = {
    f"annotations/{name}.json": name.encode() * 1000
    for name in ("captions_val2017", "instances_train2017", "instances_val2017", "person_keypoints_val2017")
}
CONTENTS = {
    "annotations/annotations_trainval2017.zip": INSTANCES,
    "zips/train2017.zip": {"train2017/": b"", **TRAIN},
    "zips/val2017.zip": {"val2017/": b"", **IMAGES},
}


def zipped(files: Dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return stream.getvalue()


def described(address: str, data: bytes, images: int) -> CocoArchive:
    return CocoArchive(address, len(data), hashlib.sha256(data).hexdigest(), images)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(sources, "PAUSE_S", 0.01)
    with serving_files({f"/{address}": zipped(files) for address, files in CONTENTS.items()}) as running:
        yield running


@pytest.fixture
def plan(server: FileServer, tmp_path: Path) -> CocoPlan:
    counts = {"train": len(TRAIN), "val2": len(IMAGES)}
    archives = tuple(
        described(path[1:], data, counts.get(path.rpartition("/")[2][: 5 if "train2" in path else 4], 0))
        for path, data in server.files.items()
    )
    return CocoPlan(tmp_path / "coco", server=server.url, archives=archives)


def files_in(folder: Path) -> List[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def addresses(server: FileServer) -> List[str]:
    return [path.rpartition("/")[2] for path, _ in server.asked]


WHOLE = sorted([*IMAGES, *TRAIN, "annotations/instances_train2017.json", "annotations/instances_val2017.json"])


def test_all_of_it_and_nothing_the_second_time(plan: CocoPlan, server: FileServer) -> None:
    assert download_coco(plan) == ["annotations_trainval2017.zip", "train2017.zip", "val2017.zip"]
    assert files_in(plan.root) == WHOLE
    for name, content in {**IMAGES, **TRAIN}.items():
        assert (plan.root / name).read_bytes() == content
    for split in ("train2017", "val2017"):
        assert find_split(plan.root, split)[1] == plan.root / split
    assert len(server.asked) == 3
    assert download_coco(plan) == [] and len(server.asked) == 3


def test_one_split_and_then_the_other_fetch_the_annotations_once(plan: CocoPlan, server: FileServer) -> None:
    download_coco(replace(plan, splits=("val",)))
    kept = "annotations_trainval2017.zip"
    assert files_in(plan.root) == sorted([*IMAGES, "annotations/instances_val2017.json", kept])
    download_coco(replace(plan, splits=("train",)))
    assert files_in(plan.root) == WHOLE
    assert addresses(server) == [kept, "val2017.zip", "train2017.zip"]


def test_archives_can_be_kept_and_are_used_again(plan: CocoPlan, server: FileServer) -> None:
    download_coco(replace(plan, keep_archives=True))
    (plan.root / "val2017").rename(plan.root / "elsewhere")
    assert download_coco(replace(plan, keep_archives=True)) == ["val2017.zip"]
    assert len(server.asked) == 3 and (plan.root / "val2017.zip").is_file()


def test_a_cut_connection_is_gone_on_with_by_the_next_call(plan: CocoPlan, server: FileServer) -> None:
    plan = replace(plan, splits=("val",))
    download_coco(replace(plan, keep_archives=True))
    (plan.root / "val2017").rename(plan.root / "elsewhere")
    (plan.root / "val2017.zip").unlink()
    server.asked.clear()
    server.cuts = [30_000, 0, 0]
    with pytest.raises(DownloadError, match="run this again, what came is kept"):
        download_coco(plan)
    assert not (plan.root / "val2017").exists()
    download_coco(plan)
    kept = 30_000 // sources.BLOCK * sources.BLOCK
    assert server.seen == ["", *[f"bytes={kept}-"] * 3] and (plan.root / "val2017").is_dir()


def test_a_server_without_ranges_begins_afresh(plan: CocoPlan, server: FileServer) -> None:
    server.ranges, server.cuts = False, [10**6, 30_000]
    download_coco(replace(plan, splits=("val",)))
    assert server.seen[1:] == ["", f"bytes={30_000 // sources.BLOCK * sources.BLOCK}-"]
    assert (plan.root / "val2017" / "000000000004.jpg").read_bytes() == IMAGES["val2017/000000000004.jpg"]


def test_a_wrong_checksum_leaves_nothing(plan: CocoPlan, server: FileServer) -> None:
    server.files["/zips/val2017.zip"] = server.files["/zips/val2017.zip"][:-1] + b"?"
    with pytest.raises(DownloadError, match="could not fetch val2017.*sha256"):
        download_coco(replace(plan, splits=("val",)))
    assert files_in(plan.root) == ["annotations/instances_val2017.json", "annotations_trainval2017.zip"]


@pytest.mark.parametrize("ended_after", [0, 1, 3])
def test_unpacking_is_gone_on_with(
    ended_after: int, plan: CocoPlan, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, copied, copy = replace(plan, splits=("val",)), [], unzip.shutil.copyfileobj
    download_coco(replace(plan, keep_archives=True))
    (plan.root / "val2017").rename(plan.root / "elsewhere")

    def interrupted(source: io.BytesIO, stream: io.BytesIO, length: int) -> None:
        if len(copied) == ended_after:
            stream.write(source.read(100))
            raise KeyboardInterrupt
        copied.append(source)
        copy(source, stream, length)

    monkeypatch.setattr(unzip.shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_coco(plan)
    assert not (plan.root / "val2017").exists()
    first, copied, ended_after = len(copied), [], -1
    download_coco(plan)
    assert first + len(copied) == len(IMAGES) and len(server.asked) == 2
    assert {f"val2017/{p.name}": p.read_bytes() for p in (plan.root / "val2017").iterdir()} == IMAGES


def changed(plan: CocoPlan, server: FileServer, address: str, files: Dict[str, bytes]) -> CocoPlan:
    """A plan whose archive at `address` holds other files, and has the hash of those."""
    data = zipped(files)
    server.files[f"/{address}"] = data
    others = [archive for archive in plan.archives if archive.address != address]
    images = next(archive.images for archive in plan.archives if archive.address == address)
    return replace(plan, archives=(*others, described(address, data, images)))


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil.jpg", "refused"),
        ("val2017/../../evil.jpg", "refused"),
        ("/evil.jpg", "refused"),
        ("..\\evil.jpg", "refused"),
        ("C:/evil.jpg", "refused"),
        (link("val2017/evil.jpg"), "refused"),
        ("elsewhere/evil.jpg", "not COCO's"),
        ("val2017/deep/evil.jpg", "not COCO's"),
        ("val2017/one_more.jpg", "it has 6 files"),
    ],
)
def test_a_hostile_member_is_refused_before_anything_is_unpacked(
    name: str, says: str, plan: CocoPlan, server: FileServer, tmp_path: Path
) -> None:
    plan = changed(plan, server, "zips/val2017.zip", {**IMAGES, name: b"evil"})
    with pytest.raises(DownloadError, match=says):
        download_coco(replace(plan, splits=("val",)))
    assert not any("evil" in name or name.endswith(".jpg") for name in files_in(tmp_path))


def test_annotations_without_a_split_are_refused(plan: CocoPlan, server: FileServer) -> None:
    few = {name: content for name, content in INSTANCES.items() if "instances_val" not in name}
    plan = changed(plan, server, "annotations/annotations_trainval2017.zip", few)
    with pytest.raises(DownloadError, match="it has no annotations/instances_val2017.json"):
        download_coco(plan)


def test_too_little_space_is_told_before_anything_is_fetched(
    plan: CocoPlan, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = unzip.shutil.disk_usage(ROOT)
    monkeypatch.setattr(unzip.shutil, "disk_usage", lambda folder: usage._replace(free=99_999))
    with pytest.raises(DownloadError, match=r"needs 0\.\d GB in .*coco, 0.0 GB are free"):
        download_coco(replace(plan, archives=tuple(replace(a, bytes=10**8) for a in plan.archives)))
    assert server.asked == []
    with pytest.raises(DownloadError, match="unpacking val2017.zip needs"):  # the sizes in the zip decide
        download_coco(replace(plan, splits=("val",), archives=tuple(replace(a, bytes=1) for a in plan.archives)))


def test_the_peak_counts_what_is_there(plan: CocoPlan) -> None:
    big, small = CocoArchive("zips/train2017.zip", 1000, "", 1), CocoArchive("zips/val2017.zip", 100, "", 1)
    unpacked = [archive.unpacked_bytes for archive in (big, small)]
    assert coco_download._peak_bytes(plan, [big]) == 1000 + unpacked[0]
    assert coco_download._peak_bytes(plan, [big, small]) == max(1000 + unpacked[0], sum(unpacked) + 100)
    kept = replace(plan, keep_archives=True)
    assert coco_download._peak_bytes(kept, [big, small]) == 1100 + sum(unpacked)
    plan.root.mkdir()
    (plan.root / "train2017.zip.http.partial").write_bytes(b"x" * 400)
    assert coco_download._peak_bytes(plan, [big]) == 600 + unpacked[0]


def test_a_folder_of_someone_else_that_is_not_whole(plan: CocoPlan, server: FileServer) -> None:
    (plan.root / "val2017").mkdir(parents=True)
    (plan.root / "val2017" / "000000000000.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="holds 1 of 5 images"):
        download_coco(plan)
    assert server.asked == []


def test_the_table_is_whole() -> None:
    assert [archive.folder for archive in ARCHIVES] == [
        f"{name}{year}" for year in (2014, 2017) for name in ("annotations_trainval", "train", "val")
    ]
    assert all(len(bytes.fromhex(archive.sha256)) == 32 for archive in ARCHIVES)


@pytest.mark.parametrize("splits", [(), ("test",), ("train", "vla")])
def test_splits_that_there_are_not(splits: tuple) -> None:
    with pytest.raises(ConfigError, match="splits must be some of train, val"):
        CocoPlan(Path("coco"), splits=splits)


def test_the_verb_says_where_things_are(
    plan: CocoPlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "CocoPlan", lambda *chosen: replace(CocoPlan(*chosen), **vars_of(plan)))
    words = ["download-coco", "--year", "2017", "--splits", "val", "--root", str(plan.root)]
    assert main(words) == 0
    assert "val2017 are there" in capsys.readouterr().out
    assert main(words) == 0
    assert "val2017 were there already" in capsys.readouterr().out


def vars_of(plan: CocoPlan) -> dict:
    return {"server": plan.server, "archives": plan.archives}


def test_without_a_network_one_line_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "PAUSE_S", 0.01)
    nowhere = {"server": "http://127.0.0.1:9", "archives": tuple(replace(a, bytes=1, images=0) for a in ARCHIVES)}
    monkeypatch.setattr(verb, "CocoPlan", lambda *chosen: replace(CocoPlan(*chosen), **nowhere))
    assert main(["download-coco", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Check the network, or put the file at" in error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--year", "2015"], "year must be one of 2014, 2017"),
        (["--splits", "test"], "splits must be some of train, val"),
    ],
)
def test_the_script_in_the_folder_is_the_verb(words: List[str], says: str, tmp_path: Path) -> None:
    script = ROOT / "dataset" / "coco" / "download"
    assert script.stat().st_mode & 0o111
    command = [sys.executable, str(script), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1
