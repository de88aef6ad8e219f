"""Durations, sizes and counts in units that people read."""

from __future__ import annotations


def seconds(value: float | None) -> str:
    """Return a duration in the unit that fits it."""
    if value is None:
        return "-"
    if abs(value) < 0.001:
        return f"{value * 1e6:.0f} us"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms" if abs(value) < 0.1 else f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s"


def milliseconds(value: float | None) -> str:
    """Return a duration as a number of milliseconds, for a column of them."""
    if value is None:
        return "-"
    return f"{value * 1e3:,.2f}" if abs(value) < 0.1 else f"{value * 1e3:,.0f}"


def size(value: float) -> str:
    """Return a number of bytes in the unit that fits it."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
