"""The common options of every command, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from xaicli.data.access import Access
from xaicli.run.shard import Shard


@dataclass(frozen=True)
class Settings:
    """What the user asked for beyond sources and methods. `batch_size` None leaves the verb's default."""

    output: str | None = None
    force: bool = False
    limit: int | None = None
    per_class: int | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    batch_size: int | None = None
    block: int | None = None
    data_root: Path | None = None
    parents: tuple[Path, ...] = ()
    dry_run: bool = False
    download: bool = False
    num_workers: int | None = None  # threads that read image files; None takes what the machine has
    compress: bool = False
    shard: Shard = field(default_factory=Shard)
    arch: str | None = None  # FILE.py:FACTORY of a checkpoint whose own file has moved

    @property
    def access(self) -> Access:
        """How data sets are reached."""
        return Access(self.data_root, self.download, self.num_workers)

    @property
    def call_rows(self) -> int:
        """Rows of every model call outside training."""
        return self.batch_size or 32

    @property
    def is_default(self) -> bool:
        """Whether nothing that belongs to a job differs from its default."""
        return (self.limit, self.per_class, self.seed, self.call_rows, self.block) == (None, None, 0, 32, None)
