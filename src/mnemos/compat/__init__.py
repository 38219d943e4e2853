"""Doors that other libraries' users know: `mnemos.compat.mem0` has mem0's interface."""
