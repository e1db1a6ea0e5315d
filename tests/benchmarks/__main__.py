"""`python -m tests.benchmarks [--small] [--select NAME]`: what fast means, measured. Prints one table."""

from __future__ import annotations

import argparse

from tests.benchmarks import attacks, cams, libraries, memory, metrics, private, rates, startup, storage, training
from tests.benchmarks.table import print_table

ROOMS = (rates, attacks, training, private, cams, libraries, metrics, storage, memory, startup)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    parser.add_argument("--select", metavar="NAME", default="", help="only lines that contain NAME")
    asked = parser.parse_args()
    print_table(line for room in ROOMS for line in room.lines(asked.small) if asked.select in line.what)


if __name__ == "__main__":
    main()
