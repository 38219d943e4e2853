"""The conversation and its questions that `mnemos demo` and the tests remember."""
