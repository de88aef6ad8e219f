"""Fuzz what parses: `python -m tests.fuzz SECONDS [TARGET...]`, where atheris and this project are installed.

Each target has a process of its own, which begins from its corpus beside this file and from its seeds. An
input that breaks a promise is written to the corpus as `find-<hash>` and ends the target: fix what it shows
and keep the file, the suite replays it. The exit code is 1 if one was found.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS, load

PACKAGES = ["codec_core", "codec_agents.records", "codec_agents.server.apis", "codec_agents.server.bodies"]

BROKEN = ["codec_core.merging.rank_engine"]
"""Under Python 3.11 atheris changes what its loops do: a function there becomes a number."""


def keep(name, data):
    """Write a find to the corpus of a target."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"find-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    print(f"kept as {path}", flush=True)


def fuzz(name, seconds):
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES, exclude=BROKEN):
        target = load(name)

    def one(data):
        try:
            target.check(data)
        except BaseException:
            keep(name, data)
            raise

    with tempfile.TemporaryDirectory() as working:
        for number, seed in enumerate(target.seeds()):
            Path(working, f"seed-{number}").write_bytes(seed)
        known = [str(folder) for folder in (CORPUS / name,) if folder.is_dir()]
        options = [f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=2048", "-timeout=10"]
        atheris.Setup([sys.argv[0], *options, working, *known], one)
        atheris.Fuzz()


def main():
    """Fuzz the targets one after another."""
    seconds, names = (sys.argv[1:2] or ["60"])[0], sys.argv[2:] or list(TARGETS)
    if len(names) == 1 and seconds.startswith("="):
        fuzz(names[0], seconds[1:])
        return 0
    try:
        import atheris  # noqa: F401 - only whether it is there
    except ImportError:
        print("atheris is not installed; pip install atheris", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        print(f"# {name}, {seconds} s", flush=True)
        if subprocess.run([sys.executable, "-m", "tests.fuzz", f"={seconds}", name], check=False).returncode:
            failed.append(name)
    print(f"broken: {', '.join(failed)}" if failed else "nothing is broken")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
