"""Records and pauses: any bytes are refused with a typed error, or read."""

import contextlib
import tempfile
from pathlib import Path

from codec_agents.exceptions import PauseError, RecordError
from codec_agents.records.reader import read_record
from codec_agents.runtime.pause import Pause
from codec_agents.trace.timeline import traced
from tests.agents.records.test_damage import OLD

LINES = 40
"""Lines of a seed: mutations of a short one come further."""


def seeds():
    """Yield records of versions without checksums, which let a mutation through, and a pause."""
    for path in sorted(OLD.glob("v*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        yield b"\x00" + b"".join(lines[:LINES])
        yield b"\x00" + b"".join([lines[0], *lines[-3:]])
    yield b"\x01" + (OLD / "v1_pause.json").read_bytes()


def check(data):
    """Hold the readers to their promises."""
    if not data:
        return
    if data[0] & 1:
        with contextlib.suppress(PauseError):
            Pause.from_json(Pause.from_json(bytes(data[1:])).to_json())
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder, "run.jsonl")
        path.write_bytes(bytes(data[1:]))
        with contextlib.suppress(RecordError):
            record = read_record(path)
            list(record.trajectories())
            record.texts()
            traced(record, "run")
