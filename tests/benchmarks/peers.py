"""The interpreter that the peers are measured in: an environment of its own, made on demand."""

import os
import subprocess
import sys
import venv
from pathlib import Path

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
