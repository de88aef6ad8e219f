"""Mistakes in a program: each line that ends in `# mistake` is an error for a type checker, and no other."""

from __future__ import annotations

from codec_agents import Pipeline, Sampling, tool


@tool
def fares(origin: str, destination: str) -> int:
    """Look up fares."""
    return len(origin) + len(destination)


class Desk:
    """Books flights."""

    @tool(approval=True)
    def book(self, flight: str) -> bool:
        """Book a flight."""
        return bool(flight)


def tools() -> None:
    """Call a tool with arguments that it has not."""
    fares("Lisbon", 4)  # mistake
    fares("Lisbon")  # mistake
    Desk().book(flight=1)  # mistake
    fares("Lisbon", "Oslo").upper()  # mistake
    tool(timeuot=4)  # mistake


def declare(p: Pipeline) -> None:
    """Misspell names, and give values of other types."""
    p.engine("A", kind="vlmm", url="http://127.0.0.1:8000")  # mistake
    p.engine("A", kind="vllm", adress="http://127.0.0.1:8000")  # mistake
    p.engine("A", kind="codec", url="http://127.0.0.1:8000", format="json")  # mistake
    p.input("q", type="txt")  # mistake
    p.model("m", prompt="{q}", sampling={"temprature": 1})  # mistake
    p.model("m", prompt="{q}", sampling=Sampling(temprature=1))  # mistake
    p.model("m", prompt="{q}", tools=[42])  # mistake
    p.model("m", prompt="{q}", policy={"retry": {"attemps": 2}})  # mistake
    p.model("m", prompt="{q}", policy={"on_failure": "ignore"})  # mistake
    p.function("f", len, wants="bytes")  # mistake
    p.map("each", p, order="random")  # mistake
    p.sink("out", to="stderr")  # mistake
    p.connect("q", "m", prefil="ahead")  # mistake
    p.connect("q", "m", prefill="always")  # mistake
    p.tokenizer_map("a", pth="map.json")  # mistake
    p.mcp("files", ["python"], aproval=True)  # mistake
    p.dialect("mine", lke="chatml")  # mistake


async def run(p: Pipeline) -> None:
    """Misspell options of a run."""
    await p.invoke({"q": "go"}, recrod="run.jsonl")  # mistake
    await p.invoke({"q": "go"}, durability="ram")  # mistake
    p.invoke_sync({"q": "go"}, recrod="run.jsonl")  # mistake
    p.run({"q": "go"}, run_ids="second")  # mistake
    await p.batch([{"q": "go"}], recrod="runs")  # mistake
    await p.batch({"q": "go"})  # mistake
    p.batch_as_completed([{"q": "go"}], approve=True)  # mistake
    p.resume("{}", ["yes", 1])  # mistake
    p.replay("run.jsonl", tools="again")  # mistake
