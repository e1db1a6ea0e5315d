"""Memory does not grow with rows; `python -m tests.benchmarks` compares 2,000 with 20,000."""

from __future__ import annotations

import pytest

from tests.benchmarks.storage import peak_memory


@pytest.mark.command
@pytest.mark.slow
def test_ten_times_the_rows_take_no_more_memory() -> None:
    """What 5,000 rows of two methods hold would be 120 MB, a sixth of the whole process."""
    assert peak_memory(5_000) < 1.1 * peak_memory(500)
