"""Where a server runs: in the foreground under uvicorn, or inside this process."""
