"""`python -m tests.benchmarks [--small]`: what fast means, measured. Prints one table."""

from __future__ import annotations

import argparse

from tests.benchmarks.rates import SMALL, WHOLE, measure_rates
from tests.benchmarks.startup import measure_startup
from tests.benchmarks.storage import SMALL as LITTLE
from tests.benchmarks.storage import WHOLE as MUCH
from tests.benchmarks.storage import measure_storage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    small = parser.parse_args().small
    print(f"{'what':<66} {'figure':>9} {'bar':>7}")
    for row in measure_rates(SMALL if small else WHOLE):
        print(f"{row.what:<66} {row.share:>9.2f} {'>= 0.90':>7}", flush=True)
    for figure in measure_storage(LITTLE if small else MUCH):
        print(f"{figure.what:<66} {figure.value:>9.3g} {figure.bar:>7} {figure.unit}", flush=True)
    for row in measure_startup(1 if small else 5):
        print(f"{row.what:<66} {row.seconds:>7.2f} s {'<= 0.3':>7}", flush=True)


if __name__ == "__main__":
    main()
