"""Fuzz all decoders: `python -m tests.core.fuzz [seconds]`, where atheris and this project are installed.

Begins from the corpus beside this file and from fresh seeds. An input that breaks a promise is written to
the corpus as `find-<hash>` and ends the run: fix what it shows and keep the file, the suite replays it.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def keep(data):
    """Write a find to the corpus."""
    path = CORPUS / f"find-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    print(f"kept as {path}", flush=True)


def main():
    """Run the fuzzer for some seconds, 120 unless told otherwise."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed; pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["codec_core"]):
        from tests.core.fuzz.seeds import seeds
        from tests.core.fuzz.target import check

    def one(data):
        try:
            check(data)
        except BaseException:
            keep(data)
            raise

    seconds = sys.argv[1] if len(sys.argv) > 1 else "120"
    with tempfile.TemporaryDirectory() as working:
        for number, seed in enumerate(seeds()):
            Path(working, f"seed-{number}").write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=2048", "-timeout=5"]
        atheris.Setup([sys.argv[0], *options, working, str(CORPUS)], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
