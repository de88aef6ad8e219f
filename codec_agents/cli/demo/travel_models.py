"""The scripts that stand for the two models of the travel desk.

A script sees the prompt that its model received, and decides on the next turn from that alone: another
question gives other calls, another tool result another draft, another draft another answer.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterable
from typing import Any

from codec_agents.testing import Call, Piece, PromptView, Say, Think

DAYS = list(calendar.day_name)
MONTHS = list(calendar.month_name)[1:]
ROUTE = re.compile(r"\bfrom\s+(\w+)\s+to\s+(\w+)", re.IGNORECASE)
CITIES = re.compile(r"\b([A-Z]\w+)\s+to\s+([A-Z]\w+)")
# A space may come first: the writer's vocabulary puts one before the first word of the draft.
FLIGHT = re.compile(
    r"^ ?FLIGHT (\S+) (.+) - (.+), (\w+), ([\d:]+)-([\d:]+), EUR (\d+)(?:, (.+))?$", re.MULTILINE
)
NO_FLIGHT = re.compile(r"^ ?NO FLIGHT (.+) - (.+), (\w+)(?:, but on (.+))?$", re.MULTILINE)
WEATHER = re.compile(r"^WEATHER (.+), (\w+): (-?\d+) to (-?\d+) C, (\d+) wet days$", re.MULTILINE)
PACK = re.compile(r"^PACK (.+)$", re.MULTILINE)


# --- the planner: thinks, calls two tools, drafts ---


def planner(prompt: PromptView) -> Iterable[Piece]:
    """Look up fares and climate for the route that the question names, then draft notes."""
    route = ROUTE.search(prompt.user) or CITIES.search(prompt.user)
    if route is None:
        yield Think("The question names no route, so there is nothing to look up.")
        yield Say("ASK Which city do you leave from, and where do you want to go?")
        return
    origin, destination = (city.title() for city in route.groups())
    day = _named(prompt.user, DAYS) or "Friday"  # a question without a day still gets flights
    if prompt.turn == 1:
        yield from _look_up(prompt.user, origin, destination, day)
    else:
        yield from _draft(prompt.all_results, origin, destination, day)


def _named(text: str, words: list[str]) -> str | None:
    return next((word for word in words if re.search(rf"\b{word}\b", text, re.IGNORECASE)), None)


def _look_up(question: str, origin: str, destination: str, day: str) -> Iterable[Piece]:
    yield Think(
        f"{origin} to {destination} on a {day}. I need the fares of that day, and what the weather in "
        f"{destination} is like, to say what to pack. Neither look-up waits for the other."
    )
    yield Call("fares", origin=origin, destination=destination, day=day)
    month = _named(question, MONTHS)
    yield Call("climate", city=destination, **({"month": month} if month else {}))


def _draft(results: Iterable[str], origin: str, destination: str, day: str) -> Iterable[Piece]:
    fares: dict[str, Any] = {}
    climate: dict[str, Any] = {}
    for result in results:
        found = _read(result)
        fares, climate = (found, climate) if "flights" in found else (fares, found or climate)
    yield Think(_weigh(fares, climate))
    yield Say("\n".join(_notes(fares, climate, f"{origin} - {destination}", destination, day)))


def _read(result: str) -> dict[str, Any]:
    try:
        found = json.loads(result)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _weigh(fares: dict[str, Any], climate: dict[str, Any]) -> str:
    flights = fares.get("flights", [])
    thoughts = [f"{len(flights)} flights that day."]
    if len(flights) > 1:
        thoughts.append(
            f"The cheapest saves {flights[-1]['eur'] - flights[0]['eur']} euros over the dearest."
        )
    if "low_c" in climate:
        thoughts.append("It will freeze at night." if climate["low_c"] <= 0 else "No frost to expect.")
    return " ".join(thoughts)


def _notes(fares: dict[str, Any], climate: dict[str, Any], route: str, city: str, day: str) -> Iterable[str]:
    flights = fares.get("flights", [])
    if flights:
        best, others = flights[0], len(flights) - 1
        times = f"{best['departs']}-{best['arrives']}"
        more = (
            f", {others} dearer {'at' if others == 1 else 'up to'} EUR {flights[-1]['eur']}" if others else ""
        )
        yield f"FLIGHT {best['flight']} {route}, {day}, {times}, EUR {best['eur']}{more}"
    else:
        days = " ".join(fares.get("other_days", []))
        yield f"NO FLIGHT {route}, {day}" + (f", but on {days}" if days else "")
    if "high_c" in climate:
        low, high, wet = climate["low_c"], climate["high_c"], climate["wet_days"]
        yield f"WEATHER {city}, {climate['month']}: {low} to {high} C, {wet} wet days"
        yield "PACK " + "; ".join(_luggage(low, high, wet))


def _luggage(low: int, high: int, wet_days: int) -> Iterable[str]:
    # Rules of thumb, in degrees and in days of a month.
    if low <= 0:
        yield from ("a winter coat", "gloves and a hat")
    elif high < 18:
        yield "a warm jacket"
    else:
        yield "light clothes"
    if high >= 22:
        yield "sunscreen"
    if wet_days >= 9:
        yield "an umbrella"


# --- the writer: rewrites the draft that it received ---


def writer(prompt: PromptView) -> Iterable[Piece]:
    """Turn the notes of the draft into sentences for a person."""
    draft = prompt.user
    yield Say(" ".join(_sentences(draft)) or draft.strip())


def _sentences(draft: str) -> Iterable[str]:
    if asked := re.search(r"^ ?ASK (.+)$", draft, re.MULTILINE):
        yield f"I am glad to help! {asked[1]}"
    if flight := FLIGHT.search(draft):
        number, origin, city, day, departs, arrives, fare, more = flight.groups()
        yield f"Take {number} on {day}: it leaves {origin} at {departs} and lands in {city} at {arrives}."
        yield f"At €{fare}"
        yield "it is the only flight that day." if more is None else f"it is the cheapest ({_spell(more)})."
    if missing := NO_FLIGHT.search(draft):
        origin, city, day, days = missing.groups()
        yield f"There is no flight from {origin} to {city} on {day}" + (f"; try {days}." if days else ".")
    if weather := WEATHER.search(draft):
        city, month, low, high, wet = weather.groups()
        month = next((name for name in MONTHS if name.startswith(month)), month)
        yield f"In {month}, {city} has {low} to {high} °C, with rain or snow on {wet} days of the month."
    if pack := PACK.search(draft):
        yield f"Pack {_listed(pack[1].split('; '))}. Have a good trip!"


def _spell(more: str) -> str:
    others = "other" if more.startswith("1 ") else "others"
    return re.sub(r"EUR (\d+)", r"€\1", more).replace("dearer", others)


def _listed(things: list[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + f" and {things[-1]}"
