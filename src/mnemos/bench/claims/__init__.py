"""Claims: what a system's paper says, re-run here; one module per system (see `mnemos.bench.runner`)."""
