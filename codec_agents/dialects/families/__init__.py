"""One model family per file, each with its `DIALECTS`."""
