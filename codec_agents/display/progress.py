"""A bar that counts finished runs, on a terminal or in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codec_agents.display.escape import escape_line


@contextmanager
def progress_bar(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, or in the notebook; give the function that moves it.

    Where standard error is no terminal, only the last state is printed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # Drawn when a run finishes, without a thread of its own beside the event loop.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task(escape_line(name), total=total)
        bar.refresh()

        def report(done: int, _: int) -> None:
            bar.update(task, completed=done, refresh=True)

        yield report
