"""A labelled set for classifiers: a folder with a subfolder of images for each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ppsplit.errors import DataError
from ppsplit.image import list_images

MOST_NAMED = 4
NAMES, NUMBERS, ORDER = "names", "numbers", "order"


@dataclass(frozen=True)
class ClassImage:
    """An image and the class it is of."""

    path: Path
    class_id: int


@dataclass(frozen=True)
class ClassFolder:
    """Images by class. Open it with `ClassFolder.open`.

    Attributes:
        root: the folder.
        images: by the names of their subfolders, then by their own.
        matched_by: how subfolders were matched with classes: "names", "numbers" or "order".
    """

    root: Path
    images: Tuple[ClassImage, ...]
    matched_by: str

    @classmethod
    def open(cls, root: Path, class_names: Sequence[str], num_classes: int) -> "ClassFolder":
        """Find the images of every subfolder.

        A subfolder is called like a class, or has its number; or there is one for each class, in the classes' order
        when sorted by name (as ImageNet's, whose names are WordNet's ids). The first of these that holds for all
        counts.

        Args:
            class_names: of the network, () where unknown.
            num_classes: how many classes it tells apart.

        Raises:
            DataError: no such folder, no subfolder, an empty one, or they cannot be matched with the classes.
        """
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root} does not exist; give a folder with a subfolder of images for each class")
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise DataError(f"{root} has no subfolders; expected one with images for each class")
        ids, matched_by = _class_ids([folder.name for folder in folders], class_names, num_classes, root)
        images = [ClassImage(path, ids[folder.name]) for folder in folders for path in list_images(folder)]
        return cls(root, tuple(images), matched_by)

    def first(self, count: int) -> "ClassFolder":
        """The same set with only `count` of its images, taken evenly from all classes. Raises DataError for none."""
        if count < 1:
            raise DataError(f"a limit of {count} images leaves nothing to look at; give 1 or more")
        kept = min(count, len(self.images))
        images = tuple(self.images[number * len(self.images) // kept] for number in range(kept))
        return ClassFolder(self.root, images, self.matched_by)


def _class_ids(
    folders: List[str], class_names: Sequence[str], num_classes: int, root: Path
) -> Tuple[Dict[str, int], str]:
    """Subfolder to class id, and how they were matched."""
    known = {name: number for number, name in enumerate(class_names)}
    if all(name in known for name in folders):
        return {name: known[name] for name in folders}, NAMES
    if all(name.isdecimal() and int(name) < num_classes for name in folders):
        return {name: int(name) for name in folders}, NUMBERS
    if len(folders) == num_classes:
        return {name: number for number, name in enumerate(folders)}, ORDER
    strange = [name for name in folders if name not in known]
    more = f" and {len(strange) - MOST_NAMED} more" if len(strange) > MOST_NAMED else ""
    raise DataError(
        f"{len(strange)} of {len(folders)} subfolders of {root} are no classes of the network "
        f"({', '.join(strange[:MOST_NAMED])}{more}); call them like its classes, by their numbers 0 to "
        f"{num_classes - 1}, or give one for each of its {num_classes} classes, sorted as they are"
    )
