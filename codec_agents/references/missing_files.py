"""Where a file that is not there was searched, and what is called nearly so."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from codec_agents.faults import MAX_COMPARED


def searched(path: Path) -> str:
    """Return the folder in which a path was searched, and the name there that is most like the path's.

    It follows a sentence on the missing file, and needs no period.
    """
    folder = path.parent.absolute()
    try:
        names = [each.name for each in islice(folder.iterdir(), MAX_COMPARED)]
    except OSError:  # the folder is what is missing, or cannot be read
        names = []
    close = get_close_matches(path.name, names, n=1)
    return f" in the folder {str(folder)!r}" + (f"; did you mean {close[0]!r}?" if close else "")
