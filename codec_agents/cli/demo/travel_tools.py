"""The two tools of the travel desk. They really read the tables in `data/`."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import anyio

DATA = Path(__file__).parent / "data"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def fares(origin: str, destination: str, day: str) -> dict[str, object]:
    """Look up the flights between two cities on a day of the week, the cheapest first.

    Args:
        origin: The city to leave from.
        destination: The city to fly to.
        day: The day of the week, such as Friday.
    """
    wanted = day[:3].title()
    if wanted not in DAYS:
        raise ValueError(f"{day!r} is not a day of the week")
    with (DATA / "flights.csv").open(newline="") as file:
        flights = [
            row
            for row in csv.DictReader(file)
            if row["from"].casefold() == origin.casefold() and row["to"].casefold() == destination.casefold()
        ]
    found = sorted(
        (row for row in flights if wanted in row["days"].split()), key=lambda row: int(row["fare_eur"])
    )
    shown = ("flight", "departs", "arrives")
    return {
        "flights": [{**{name: row[name] for name in shown}, "eur": int(row["fare_eur"])} for row in found],
        "other_days": sorted({other for row in flights for other in row["days"].split()}, key=DAYS.index),
    }


async def climate(city: str, month: str | None = None) -> dict[str, object]:
    """Look up what the weather of a city is usually like in a month.

    Args:
        city: The city.
        month: The month, such as March; this month when left out.
    """
    chosen = month[:3].title() if month else MONTHS[dt.datetime.now(dt.UTC).month - 1]
    if chosen not in MONTHS:
        raise ValueError(f"{month!r} is not a month")
    text = await anyio.Path(DATA / "climate.csv").read_text()
    rows = [row for row in csv.DictReader(text.splitlines()) if row["city"].casefold() == city.casefold()]
    if not rows:
        raise LookupError(f"no climate is known for {city}")
    return {"month": chosen, **{row["quantity"]: int(row[chosen]) for row in rows}}
