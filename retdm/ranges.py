"""Ranges of settings, declared in a constructor's signature: ``k: Annotated[int, AtLeast(1)] = 10``.

``retdm.settings.types`` reads them where it reads the types, so no constructor checks them again.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The numbers between two ends, each of which is included or not.

    Attributes:
        words: their name in a message: ``above 0``.
    """

    low: float
    high: float
    words: str
    with_low: bool = True
    with_high: bool = True

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.with_low else value > self.low
        return above and (value <= self.high if self.with_high else value < self.high)


def Above(low: float) -> Range:
    """Every number greater than ``low``."""
    return Range(low, float("inf"), f"above {low:g}", with_low=False)


def AtLeast(low: float) -> Range:
    """``low`` and every greater number."""
    return Range(low, float("inf"), f"of at least {low:g}")


def AtMost(high: float) -> Range:
    """``high`` and every smaller number."""
    return Range(float("-inf"), high, f"of at most {high:g}")


def Between(low: float, high: float, *, with_low: bool = True, with_high: bool = True) -> Range:
    """The numbers from ``low`` to ``high``, without an end for which ``with_…`` is false."""
    start = f"from {low:g}" if with_low else f"above {low:g}"
    end = f"to {high:g}" if with_high else f"to below {high:g}"
    return Range(low, high, f"{start} {end}", with_low, with_high)
