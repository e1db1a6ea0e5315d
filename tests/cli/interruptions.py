"""One job cut into shards, killed and finished under other numbers of shards: the merged bytes must be the same.

`python -m tests.cli.interruptions CHECKPOINT --rows 1000` does it at full size, every shard a real process.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# A real process whose finished blocks are published one by one, so that a kill finds some.
EAGER = "import xaicli.run.produce as p; p.SEGMENT_BYTES = 1; from xaicli.cli.main import main; main()"

Run = Callable[..., None]


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every store in a folder; nothing else may be left there."""
    return {entry.name: hashlib.sha256(entry.read_bytes()).hexdigest() for entry in sorted(folder.iterdir())}


def start_eager(arguments: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
    """A process that saves every block."""
    command = [sys.executable, "-c", EAGER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload,no-any-return]


def kill_midway(arguments: Sequence[str], folder: Path, delay: float, **options: object) -> int:
    """Start the shard, kill it a moment after its first block, and say how many segments there are then."""
    before = set(folder.glob("*.parts/[!.]*"))
    with start_eager(arguments, **options) as process:
        while process.poll() is None and set(folder.glob("*.parts/[!.]*")) == before:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    return len(list(folder.glob("*.parts/[!.]*")))


def run_whole(run: Run, command: Sequence[str], folder: Path) -> dict[str, str]:
    """The job in one process."""
    run(*command, "-o", f"{folder}/")
    return digests(folder)


def run_shards(run: Run, command: Sequence[str], folder: Path, count: int) -> dict[str, str]:
    """The job as so many shards, then merged."""
    for number in range(1, count + 1):
        run(*command, "-o", f"{folder}/", "--shard", f"{number}/{count}")
    run("store", "merge", str(folder))
    return digests(folder)


def run_killed(
    run: Run, command: Sequence[str], folder: Path, seed: int, killed: int = 2, **options: object
) -> dict[str, str]:
    """Seven shards of which some are killed at random moments; four shards finish what is left."""
    chance = random.Random(seed)
    victims = chance.sample(range(1, 8), killed)
    for number in victims:
        arguments = [*command, "-o", f"{folder}/", "--shard", f"{number}/7"]
        kill_midway(arguments, folder, chance.uniform(0, 0.5), **options)
    for number in set(range(1, 8)) - set(victims):
        run(*command, "-o", f"{folder}/", "--shard", f"{number}/7")
    return run_shards(run, command, folder, 4)


def commands(checkpoint: Path, maps: Sequence[Path], rows: int) -> dict[str, list[str]]:
    """One command of each verb."""
    few = ["-n", str(rows), "--block", "8", "-q"]
    return {
        "attack": ["attack", str(checkpoint), "-a", "pgd:steps=3,restarts=2", "-a", "fgsm", *few],
        "explain": ["explain", str(checkpoint), "-m", "gradcam", "-m", "ig:steps=4", "-m", "random", *few],
        "evaluate": [
            "evaluate",
            str(checkpoint),
            *map(str, maps),
            "-k",
            "deletion:steps=4",
            "-k",
            "average-drop",
            "--block",
            "8",
            "-q",
        ],
        "generate": ["generate", str(checkpoint), "-g", "class-images:steps=3", "--per-class", "4", "-q"],
    }


def _real(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "xaicli", *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="interruptions-"))
    maps = folder / "maps"
    _real(
        "explain", str(chosen.checkpoint), "-m", "gradcam", "-m", "saliency", "-n", str(chosen.rows), "-o", f"{maps}/"
    )
    try:
        for verb, command in commands(chosen.checkpoint, sorted(maps.iterdir()), chosen.rows).items():
            whole = run_whole(_real, command, _made(folder / f"{verb}-whole"))
            three = run_shards(_real, command, _made(folder / f"{verb}-three"), 3)
            seven = run_killed(_real, command, _made(folder / f"{verb}-seven"), chosen.seed)
            print(
                verb, "equal" if whole == three == seven else "DIFFERENT", *(d[:12] for d in whole.values()), flush=True
            )
    finally:
        shutil.rmtree(folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
