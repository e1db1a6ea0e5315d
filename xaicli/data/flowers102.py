"""`flowers102`: 8,189 photographs of 102 kinds of flowers (M.-E. Nilsback, A. Zisserman, 2008)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from xaicli.data.access import Access, locate, read_whole
from xaicli.data.dataset import Rows
from xaicli.data.image_files import ImageFiles, open_files
from xaicli.data.listing import File
from xaicli.data.splits import FullSplit, Split, full_split
from xaicli.errors import InputError, MissingError

SHAPE = (3, 224, 224)
FOLDERS = ("flowers-102", "flowers102")
PARTS: dict[FullSplit, tuple[str, ...]] = {"train": ("trnid", "valid"), "test": ("tstid",)}
"""The authors' 1,020 training and 1,020 validation images are `train`, of which `val` is a tenth as everywhere."""

MOST_BYTES = 1 << 18
"""The two files of numbers have 16 KB; this bounds what they can inflate to."""

MOST_NUMBERS = 1 << 16
NUMERIC = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))

NAMES = """
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid,
bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris,
globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily,
pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian,
artichoke, sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly,
ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil,
sword lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia,
wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange dahlia,
pink-yellow dahlia?, cautleya spicata, japanese anemone, black-eyed susan, silverbush, californian poppy,
osteospermum, spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple,
morning glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, columbine,
desert-rose, tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove,
bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily
"""
"""In the order of the labels, as the authors' web page lists them and torchvision names them."""

CLASSES = tuple(name.strip() for name in NAMES.replace("\n", " ").split(","))


def open_flowers102(
    split: Split, shape: tuple[int, int, int] | None = None, access: Access | None = None
) -> ImageFiles:
    """The 2,040 training images (the authors' training and validation sets) or the 6,149 test images.

    [3, 224, 224] unless another size is asked for. Raises MissingError, and InputError for damaged numbers.
    """
    access = access or Access()
    root = locate("flowers102", FOLDERS, access, lambda place: (place / "setid.mat").is_file())
    full = full_split(split)
    labels = _numbers(root / "imagelabels.mat", "labels")
    numbers = np.concatenate([_numbers(root / "setid.mat", part) for part in PARTS[full]])
    if labels.min() < 1 or labels.max() > len(CLASSES) or numbers.min() < 1 or numbers.max() > len(labels):
        raise InputError(f"the .mat files in '{root}' do not fit together; fetch the data set again.")
    files = [_file(root, int(number), int(labels[number - 1]) - 1) for number in numbers]
    return open_files("flowers102", root, CLASSES, files, split, shape or SHAPE, access, path=root)


def _file(root: Path, number: int, label: int) -> File:
    name = f"jpg/image_{number:05d}.jpg"
    try:
        return File(name, label, (root / name).stat().st_size)
    except OSError:
        raise MissingError(f"'{root / name}' is missing; unpack 102flowers.tgz there again.") from None


def _numbers(path: Path, name: str) -> Rows:
    """One variable of a MATLAB file, a row of whole numbers."""
    from scipy.io import loadmat, whosmat

    data = read_whole(path, MOST_BYTES)
    try:
        kinds = {found: (shape, kind) for found, shape, kind in whosmat(io.BytesIO(data))}
        shape, kind = kinds[name]
        if kind not in NUMERIC or not 0 < np.prod(shape, dtype=float) <= MOST_NUMBERS:
            raise ValueError("no numbers")
        values = np.asarray(loadmat(io.BytesIO(data), variable_names=[name])[name]).reshape(-1)
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            raise ValueError("no whole numbers")
    except Exception:  # damaged files make scipy raise anything
        raise InputError(f"'{path}' is damaged or holds no '{name}'; fetch the data set again.") from None
    return whole
