"""Tasks: benchmarks that run on any memory with the verbs, one module each (see `mnemos.bench.runner`)."""
