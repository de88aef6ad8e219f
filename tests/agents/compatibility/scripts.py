"""Scripts and tools of the declarations that version 0.1 wrote."""

from codec_agents.testing import Call, Say, Think
from codec_agents.tools import tool


def planner(prompt):
    if prompt.turn == 1:
        return [Think("I look it up."), Call("fares", city="Oslo"), Call("clock")]
    return [Say(f"Oslo for {prompt.results[0]} at {prompt.results[1]}.")]


def booker(prompt):
    if prompt.turn == 1:
        return [Call("clock"), Call("book", city="Oslo")]
    return [Say(f"{prompt.results[1]} at {prompt.results[0]}")]


@tool(read_only=True)
def fares(city: str) -> dict:
    """Look up fares."""
    return {"city": city, "price": 42}


@tool
async def clock() -> str:
    """Tell the time."""
    return "12:00"


@tool(approval=True)
def book(city: str) -> str:
    """Book a seat."""
    return f"booked {city}"


def loud(value):
    return value.upper()
