"""Real photos that a package of ours already installs, for demos, certification and a first calibration.

scikit-image's wheel carries them under licences that allow any use (public domain, CC0, or with attribution;
its `data/README.txt` lists each).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import List

from ppsplit.errors import DataError

NAMES = ("coffee.png", "motorcycle_left.png", "chelsea.png", "astronaut.png", "rocket.jpg")


def sample_photos() -> List[Path]:
    """Paths of the packaged photos.

    Raises:
        DataError: scikit-image is not installed, or no longer carries one of them.
    """
    try:
        folder = Path(str(resources.files("skimage.data")))
    except ModuleNotFoundError as error:
        raise DataError("no sample photos: install scikit-image, or give your own images") from error
    paths = [folder / name for name in NAMES]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"the installed scikit-image lacks {', '.join(missing)}; give your own images")
    return paths
