"""A few of COCO's photos for the demo, where the network reaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

from ppsplit.errors import DownloadError
from ppsplit.zoo import ZooFile, fetch
from ppsplit.zoo.sources import HttpSource

# Photos of COCO val2017 under CC BY 2.0 and CC BY-SA 2.0, by their public address: id to sha256.
COCO_PHOTOS: Dict[int, str] = {
    165518: "733bdae7be5bccea44a0e4b6e6f079d9da9439f94d721db53694e3c01eb70f47",
    208901: "cac12003fbac894b1ae9aae6e7361f74b6a5bc796ec3fd5c8cdc843cff4be320",
    568290: "116519cb932504866058215a0cca5e5d03b4af04a71e540db38c5caefb8d4725",
}
COCO_ADDRESS = "http://images.cocodataset.org/val2017/{:012d}.jpg"


def coco_photos(directory: Path) -> List[Path]:
    """A few COCO photos, fetched into `directory` where the network reaches them; none where it does not."""
    paths: List[Path] = []
    for image_id, sha256 in COCO_PHOTOS.items():
        name = f"{image_id:012d}.jpg"
        source = HttpSource(COCO_ADDRESS.format(image_id))
        try:
            paths.append(fetch(ZooFile(name, name, "", sha256, (source,)), directory))
        except DownloadError:
            break  # the others come from the same place
    return paths
