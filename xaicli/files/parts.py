"""The folder PATH.parts/: which blocks of a job are finished, whoever computed them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xaicli.errors import ExistsError, InputError, MissingError, XaicliError
from xaicli.files.atomic import sweep
from xaicli.files.layout import StoreLayout
from xaicli.files.segment import Segment, check_segment, read_segment, segment_job


@dataclass(frozen=True)
class Place:
    """Where a finished block lies."""

    segment: Segment
    slot: int


def parts_folder(path: Path) -> Path:
    """The folder of the unfinished parts of the store `path`."""
    return path.with_name(path.name + ".parts")


def find_segments(
    folder: Path, layout: StoreLayout | None = None, *, force: bool = False, own: Collection[int] | None = None
) -> list[Segment]:
    """The intact segments in a folder, by name; damaged ones are removed, to be computed again.

    layout: of the job that is being run. Segments of another one raise ExistsError, or are removed with `force`.
    Without a layout (a merge) all have to belong to one job. own: the blocks this process would compute; only segments
    with one of them are read in full here (each is, when it is merged). None: all blocks.
    """
    segments: list[Segment] = []
    for path in _segment_paths(folder):
        expected = layout or (segments[0].layout if segments else None)
        foreign = expected is not None and segment_job(path.name) != expected.job_id[:12]
        segment = None if foreign else _read(path, own)
        if segment is not None:
            foreign = expected is not None and segment.layout.to_json() != expected.to_json()
        if foreign and not force:
            raise ExistsError(f"'{folder}' holds parts of another job; use --force to discard them, or another name.")
        if foreign:
            _remove(path)
        elif segment is not None:
            segments.append(segment)
    return segments


def pending_layout(path: Path) -> StoreLayout | None:
    """The layout of the job whose parts lie beside the store `path`, or None when there are none."""
    for entry in _segment_paths(parts_folder(path)):
        with suppress(InputError, MissingError):
            return read_segment(entry).layout
    return None


def finished_blocks(path: Path, layout: StoreLayout) -> set[int]:
    """The blocks of the job in the parts of the store `path`, at a glance: nothing is removed, no row is read."""
    found: set[int] = set()
    for entry in _segment_paths(parts_folder(path)):
        if segment_job(entry.name) == layout.job_id[:12]:
            with suppress(XaicliError):
                found.update(read_segment(entry).numbers)
    return found


def locate_blocks(segments: Iterable[Segment]) -> dict[int, Place]:
    """Where each block lies. Raises InputError for a block that was computed twice with different results."""
    places: dict[int, Place] = {}
    for segment in segments:
        for slot, number in enumerate(segment.numbers):
            place = places.setdefault(number, Place(segment, slot))
            if place.segment.fingerprints[place.slot] != segment.fingerprints[slot]:
                raise InputError(
                    f"block {number} differs between '{place.segment.path}' and '{segment.path}'; "
                    "remove the one that was computed on other hardware or with other --threads."
                )
    return places


def missing_blocks(layout: StoreLayout, places: Mapping[int, Place]) -> list[int]:
    """The blocks that nobody has finished, ascending."""
    return [number for number in range(layout.blocks) if number not in places]


def remove_parts(path: Path) -> None:
    """Remove the parts of the store `path` and what killed processes left; files of anybody else stay."""
    folder = parts_folder(path)
    for segment in _segment_paths(folder):
        _remove(segment)
    sweep_parts(folder)
    with suppress(OSError):  # not there, or not empty: then something in it is not ours
        folder.rmdir()
    sweep(path)


def sweep_parts(folder: Path) -> None:
    """Remove the temporary files of killed processes in the folder."""
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            name, _, ending = entry.name.removeprefix(".").rpartition(".")[0].rpartition(".")
            if entry.name.endswith(".tmp") and ending and segment_job(name):
                sweep(folder / name)


def list_ranges(numbers: Sequence[int], most: int = 8) -> str:
    """Ascending numbers for a message: "0, 4-7, 9", cut after a few."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    return ", ".join(words) + (f" and {len(ranges) - most} more ranges" if len(ranges) > most else "")


def _segment_paths(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if segment_job(entry.name))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise ExistsError(f"'{folder}' is no folder, but parts are to go there; choose another name.") from None
    except OSError as error:
        raise MissingError(f"'{folder}' cannot be listed ({error.strerror}); check its permissions.") from error


def _read(path: Path, own: Collection[int] | None) -> Segment | None:
    try:
        segment = read_segment(path)
        if own is None or not set(segment.numbers).isdisjoint(own):
            check_segment(segment)
        return segment
    except InputError:
        _remove(path)
        return None
    except MissingError:
        if path.exists():
            raise
        return None  # another process merged and removed it meanwhile


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
