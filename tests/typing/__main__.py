"""Check the public types: `python -m tests.typing` runs mypy and basedpyright on the programs beside it.

`correct.py` must be free of errors; in `mistakes.py`, exactly the marked lines must be errors.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PROGRAMS = ("correct.py", "mistakes.py")
Lines = set[tuple[str, int]]


def marked() -> Lines:
    """Return the lines that must be errors."""
    text = (FOLDER / "mistakes.py").read_text(encoding="utf-8").splitlines()
    return {("mistakes.py", number) for number, line in enumerate(text, 1) if line.endswith("# mistake")}


def found_by_mypy() -> Lines:
    command = [sys.executable, "-m", "mypy", "--no-pretty", *(str(FOLDER / name) for name in PROGRAMS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    errors = re.findall(r"^(?:.*[\\/])?(\w+\.py):(\d+): error:", done.stdout, re.MULTILINE)
    return {(name, int(line)) for name, line in errors}


def found_by_pyright() -> Lines:
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    command += [str(FOLDER / name) for name in PROGRAMS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    errors = [each for each in json.loads(done.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in errors}


def main() -> int:
    """Print each line on which a checker differs; return 1 if there is one."""
    expected, differs = marked(), False
    for checker, found in (("mypy", found_by_mypy()), ("basedpyright", found_by_pyright())):
        for name, line in sorted(expected - found):
            print(f"{checker}: {name}:{line} should be an error")
        for name, line in sorted(found - expected):
            print(f"{checker}: {name}:{line} should be none")
        differs = differs or found != expected
        print(f"{checker}: {len(found)} of {len(expected)} mistakes found")
    return differs


if __name__ == "__main__":
    sys.exit(main())
