"""The bench: tasks that run on any memory, claims of papers re-run here, and their reports.

`runner` runs them by name, `results` keeps one JSON file per run, `report` draws tables and plots from
those files; `metrics`, `retrieval` and `timing` are what tasks score with.
"""
