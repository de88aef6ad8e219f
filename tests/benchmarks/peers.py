"""Where the peers are measured: in an interpreter of their own, whose environment is made on demand."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-peers"
PACKAGES = ("codecai==0.4.1", "httpx", "msgpack", "protobuf")


def peer_python() -> str | None:
    """Return the interpreter that has the peers installed: `CODECAI_PYTHON`, or the one of `.venv-peers`.

    The environment is made, from the package index, where it is not there; None where that fails.
    """
    given = os.environ.get("CODECAI_PYTHON")
    if given:
        return given
    python = ENVIRONMENT / "bin" / "python"
    if python.exists():
        return str(python)
    print(f"installing {', '.join(PACKAGES)} into {ENVIRONMENT}", file=sys.stderr)
    try:
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the peers cannot be installed: {error}", file=sys.stderr)
        return None
    return str(python)


class Interpreter:
    """A script beside this file in another interpreter: it is asked by a line, and answers by one."""

    def __init__(self, python: str | Path, script: str, *arguments: str) -> None:
        command = [str(python), str(Path(__file__).with_name(script)), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> Any:
        """Return what it answers.

        Raises:
            RuntimeError: it has ended; what it says of it stands on stderr.
        """
        return self.ask_line(json.dumps(request))

    def ask_line(self, line: str) -> Any:
        """Return what it answers to a request that is written already."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} has ended and does not answer")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
