"""Real photos that packages of ours already install, for demos, certification and a first calibration.

scikit-image documents the origin of each of its own under `skimage.data`: coffee and camera are CC0, rocket is
public domain, the motorcycle comes from the Middlebury 2014 stereo benchmark (Scharstein and others). matplotlib's
portrait of Grace Hopper is a work of the United States Navy.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import List

from ppsplit.errors import DataError

# Package to photos in it. Not all of scikit-image's: libpng complains about the colour profile of some.
PACKAGED = {
    "skimage.data": ("coffee.png", "motorcycle_left.png", "camera.png", "rocket.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}


def sample_photos() -> List[Path]:
    """Paths of the packaged photos.

    Raises:
        DataError: a package is not installed, or no longer carries one of them.
    """
    paths = []
    for package, names in PACKAGED.items():
        try:
            folder = Path(str(resources.files(package)))
        except ModuleNotFoundError as error:
            raise DataError(f"no sample photos: install {package.split('.')[0]}, or give your own images") from error
        paths += [folder / name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"the installed packages lack {', '.join(missing)}; give your own images")
    return paths
