"""What hypothesis draws, collected, so that one process of a slow program can judge many examples."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

Drawn = TypeVar("Drawn")


def drawn(strategy: SearchStrategy[Drawn], number: int) -> list[Drawn]:
    """Return different examples of a strategy, the same in each run."""
    found: dict[Drawn, None] = {}

    @settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(strategy)
    def collect(example: Drawn) -> None:
        found[example] = None

    collect()
    return list(found)
