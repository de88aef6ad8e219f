"""Real inference engines with small real models, from the package index alone, for tests and benchmarks."""
