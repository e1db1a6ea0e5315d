"""Where results go: default names, -o as file or folder, a job that is already finished, a path that is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xaicli.errors import ExistsError, UsageError, XaicliError
from xaicli.files.artifact import Artifact, identify
from xaicli.run.job import Job
from xaicli.run.settings import Settings


@dataclass(frozen=True)
class Named:
    """A job with the default name of its result, without job id and suffix."""

    job: Job
    name: str
    extension: str = ".h5"

    @property
    def file(self) -> str:
        """The default file name."""
        return f"{self.name}{f'-{self.job.id[:6]}' if self.job.suffix else ''}{self.extension}"

    @property
    def distinct_file(self) -> str:
        """The default file name with the job id, used when names collide."""
        return f"{self.name}-{self.job.id[:6]}{self.extension}"


def place(results: Sequence[Named], settings: Settings) -> list[Path]:
    """The path of every result: `-o` is a folder if several files result, if it ends in `/` or if it is one."""
    output = settings.output
    if output is not None and not output.endswith("/") and len(results) == 1 and not Path(output).is_dir():
        return [Path(output)]
    folder = Path(output) if output is not None else Path()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o '{output}' is a file, but {len(results)} files result; name a folder.")
    files = [result.file for result in results]
    return [folder / (result.distinct_file if files.count(result.file) > 1 else result.file) for result in results]


def finished(path: Path, job: Job, settings: Settings) -> Artifact | None:
    """The artifact of the same job at this path, if it is there; ExistsError when another job's result is."""
    if not path.exists() or settings.force:
        return None
    try:
        artifact = identify(path)
    except XaicliError:
        artifact = None
    if artifact is not None and artifact.job_id == job.id:
        return artifact
    raise ExistsError(f"'{path}' exists and is not the result of this job; choose another -o or add --force.")
