"""Find an artifact's parents by id: among the sources, where records point, in --parent, beside the child, and here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xaicli.errors import MissingError, XaicliError
from xaicli.files.artifact import Artifact, identify
from xaicli.files.sources import Sources

_SUFFIX = {"checkpoint": ".safetensors"}


class Parents:
    """Looks parents up in the order of SPEC 2; what was identified once is not read again."""

    def __init__(self, sources: Sources, extra: Sequence[Path]) -> None:
        for place in extra:
            if not place.exists():
                raise MissingError(f"--parent '{place}' does not exist; check the path.")
        self._sources = sources
        self._extra = list(extra)
        self._known: dict[Path, Artifact | None] = {}
        self._folders: dict[str, Path] = {}

    def find(self, kind: str, id: str, child: Artifact) -> Artifact:
        """The parent with this id, or MissingError naming it."""
        for artifact in self._sources.artifacts:
            if artifact.id == id:
                return artifact
        for path in self._places(kind, id, child):
            artifact_here = self._identify(path)
            if artifact_here is not None and artifact_here.id == id:
                return artifact_here
        raise MissingError(
            f"the {kind} {id[:12]} that '{child.path.name}' was made from was not found; name it with --parent PATH."
        )

    def data_path(self, digest: str) -> Path | None:
        """Where a record said that a data set without a fixed home lies."""
        return self._sources.hints.get(digest)

    def place(self, name: str, path: Path) -> None:
        """Note where the user's own words place a data set: artifacts name it, but have no paths."""
        self._folders[name] = path

    def placed(self, name: str) -> Path | None:
        """Where the user placed the data set of this name."""
        return self._folders.get(name)

    def _places(self, kind: str, id: str, child: Artifact) -> Iterator[Path]:
        suffix = _SUFFIX.get(kind, ".h5")
        if id in self._sources.hints:
            yield self._sources.hints[id]
        for place in self._extra:
            yield from _files(place, suffix) if place.is_dir() else [place]
        yield from _files(child.path.resolve().parent, suffix)
        yield from _files(Path.cwd(), suffix)

    def _identify(self, path: Path) -> Artifact | None:
        if path not in self._known:
            try:
                self._known[path] = identify(path)
            except XaicliError:  # a damaged neighbour is not the parent we look for
                self._known[path] = None
        return self._known[path]


def _files(folder: Path, suffix: str) -> Iterable[Path]:
    return sorted(path for path in folder.glob(f"*{suffix}") if path.is_file())
