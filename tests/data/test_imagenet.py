"""`imagenet`: folders of synsets, and Kaggle's flat validation images with their table."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from xaicli.data.access import Access
from xaicli.data.imagenet import open_imagenet
from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError, RefusedError

TENCH, CRANE, CRANE_TOO = "n01440764", "n02012849", "n03126707"
MAPPING = f"{TENCH} tench, Tinca tinca\n{CRANE} crane\n{CRANE_TOO} crane\n"


def paint(path: Path, value: int) -> None:
    """A photograph of 40x20, grey on the sides that a centre crop leaves out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (40, 20), (128, 128, 128))
    image.paste((value, 0, 0), (10, 0, 30, 20))
    image.save(path, "PNG")


def write(tree: Path) -> Path:
    """Ten training images of each of three synsets, and one validation image of two."""
    for label, synset in enumerate((TENCH, CRANE, CRANE_TOO)):
        for number in range(10):
            paint(tree / "train" / synset / f"{synset}_{number}.JPEG", 10 * label + number)
    paint(tree / "val" / CRANE_TOO / "ILSVRC2012_val_00000001.JPEG", 200)
    paint(tree / "val" / TENCH / "ILSVRC2012_val_00000002.JPEG", 201)
    return tree


@pytest.mark.parametrize("folder", ["imagenet", "ILSVRC2012", "", "imagenet/ILSVRC/Data/CLS-LOC"])
def test_folders_of_synsets(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder)
    train, test = (open_data(f"imagenet:{split}", access=Access(tmp_path)) for split in ("train", "test"))
    assert train.classes == test.classes == (TENCH, CRANE, CRANE_TOO)
    assert (len(train), train.labels[[0, 10, 29]].tolist(), test.labels.tolist()) == (30, [0, 1, 2], [0, 2])
    assert train.key(11) == f"train/{CRANE}/{CRANE}_1.JPEG"
    assert test.key(1) == f"val/{CRANE_TOO}/ILSVRC2012_val_00000001.JPEG"
    assert (test.name, test.shape) == ("imagenet", (3, 224, 224))
    # The whole height and the middle half of the width, whose edges are blended with what is cut off.
    pixels = test.read([1]).pixels[..., 12:-12]
    assert (pixels[:, 0] == 200).all() and (pixels[:, 1:] == 0).all()


def test_val_is_a_tenth_of_train(tmp_path: Path) -> None:
    write(tmp_path)
    val, train = (open_imagenet(split, (3, 8, 8), Access(tmp_path)) for split in ("val", "train"))
    assert val.labels.tolist() == [0, 1, 2]
    assert val.read([0]).pixels[0, 0, 4, 4] == val.index[0]
    assert val.digest == train.digest


def test_names_come_from_the_table_and_leave_the_digest_alone(tmp_path: Path) -> None:
    write(tmp_path)
    before = open_imagenet("test", None, Access(tmp_path))
    (tmp_path / "LOC_synset_mapping.txt").write_text(MAPPING)
    after = open_imagenet("test", None, Access(tmp_path))
    assert after.classes == ("tench", f"crane ({CRANE})", f"crane ({CRANE_TOO})")
    assert after.digest == before.digest
    for text in ("tench\n", f"{TENCH}\n", f"{TENCH} \x1b[2J\n", "\xff"):
        (tmp_path / "LOC_synset_mapping.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match=r"LOC_synset_mapping.txt' (does not hold a synset|is no UTF-8 text)"):
            open_imagenet("test", None, Access(tmp_path))


def flat(base: Path) -> Path:
    """Kaggle's layout with two validation images and no training images."""
    tree = base / "ILSVRC" / "Data" / "CLS-LOC"
    paint(tree / "val" / "ILSVRC2012_val_00000001.JPEG", 200)
    paint(tree / "val" / "ILSVRC2012_val_00000002.JPEG", 201)
    (base / "LOC_synset_mapping.txt").write_text(MAPPING)
    (base / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\n"
        f"ILSVRC2012_val_00000002,{TENCH} 85 1 499 272 \n"
        f"ILSVRC2012_val_00000001,{CRANE_TOO} 131 0 499 254 {CRANE_TOO} 1 2 3 4 \n"
    )
    return base


def test_flat_validation_images_are_told_apart_by_the_table(tmp_path: Path) -> None:
    base = flat(tmp_path / "imagenet")
    test = open_imagenet("test", (3, 8, 8), Access(tmp_path))
    assert test.labels.tolist() == [2, 0]
    assert test.read([0, 1]).pixels[:, 0, 4, 4].tolist() == [200, 201]
    assert [test.key(i)[-6] for i in range(2)] == ["1", "2"]
    with pytest.raises(MissingError, match="the data 'imagenet' is not there"):
        open_imagenet("train", None, Access(tmp_path))
    (base / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(MissingError, match=r"LOC_synset_mapping.txt' is missing, which says what classes there are"):
        open_imagenet("test", None, Access(tmp_path))


@pytest.mark.parametrize(
    "line",
    [
        f"../../secret,{TENCH} 1 2 3 4",
        "ILSVRC2012_val_00000001,n99999999 1 2 3 4",
        "ILSVRC2012_val_00000001,",
        "ILSVRC2012_val_00000001",
        "",
    ],
)
def test_a_table_that_does_not_say_what_it_should(tmp_path: Path, line: str) -> None:
    base = flat(tmp_path / "imagenet")
    (base / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{line}\n")
    with pytest.raises(InputError, match=r"LOC_val_solution.csv' (does not say in every line|names no images)"):
        open_imagenet("test", None, Access(tmp_path))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        MissingError, match=r"'imagenet' is not there; looked for .*/ILSVRC2012'.*--data-root where"
    ) as error:
        open_imagenet("test", None, Access(tmp_path))
    assert "--download" not in str(error.value)
    with pytest.raises(MissingError, match="has to be fetched by hand"):
        open_imagenet("test", None, Access(tmp_path, download=True))
    base = flat(tmp_path / "imagenet")
    (base / "ILSVRC" / "Data" / "CLS-LOC" / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    with pytest.raises(MissingError, match=r"ILSVRC2012_val_00000002.JPEG' is missing; restore it"):
        open_imagenet("test", None, Access(tmp_path))


def test_classes_that_are_no_synsets_or_only_in_val_and_links(tmp_path: Path) -> None:
    write(tmp_path)
    paint(tmp_path / "val" / "n00000001" / "x.JPEG", 1)
    with pytest.raises(InputError, match=r"n00000001' is a class that train lacks"):
        open_imagenet("test", None, Access(tmp_path))
    paint(tmp_path / "train" / "cats" / "x.JPEG", 1)
    with pytest.raises(InputError, match="has a class 'cats', which is no synset"):
        open_imagenet("train", None, Access(tmp_path))
    (tmp_path / "train" / "cats" / "x.JPEG").unlink()
    (tmp_path / "train" / "cats").rmdir()
    (tmp_path / "train" / TENCH / "out.JPEG").symlink_to("/etc/hostname")
    with pytest.raises(RefusedError, match="is a link that does not point to a file within"):
        open_imagenet("train", None, Access(tmp_path))
