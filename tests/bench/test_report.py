from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mnemos.bench import report
from mnemos.bench.report import PALETTE, colour, markdown, plot, table
from mnemos.bench.results import Finding, Machine, Result, load, save
from mnemos.core.errors import InvalidInput, MissingExtra

HERE = Machine("Alpha", 2, "3.11.9", "Linux x86_64")
THERE = Machine("Beta", 64, "3.12.1", "Linux x86_64")
TASK = Result(
    name="locomo",
    measures={"recall@10": 0.5213, "recall@10 low": 0.4987, "recall@10 high": 0.544},
    rows=(
        {
            "system": "mnemos",
            "category": "multi | hop",
            "recall@10": 0.5,
            "recall@10 low": 0.4,
            "recall@10 high": 0.6,
        },
        {"system": "dense", "category": "multi | hop", "recall@10": 0.25},
        {"system": "mnemos", "category": "[bold]time", "recall@10": 0.0001},
    ),
    size={"questions": 999, "turns": 12345},
    seeds=(0, 1),
    seconds=12.34,
    machine=HERE,
    commit="0123456789abcdef",
    started_at=0.0,
)
SCALE = replace(
    TASK,
    name="scale",
    rows=tuple(
        {"system": system, "records": n, "p95 ms": n * factor}
        for system, factor in (("mnemos", 0.01), ("dense", 0.02))
        for n in (10_000, 1_000, 100_000)
    ),
)
CLAIM = replace(TASK, name="memgas", claim=Finding("fusion beats dense", "+5 %", 0.52, 0.43, "holds"))


def _rendered(results: object) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(table(results))
    return out.getvalue()


def test_one_result_shows_its_rows_with_intervals_in_their_cell_and_the_run_at_the_foot() -> None:
    assert markdown(TASK) == (
        "### locomo\n\n"
        "| system | category | recall@10 |\n"
        "| --- | --- | ---: |\n"
        "| mnemos | multi \\| hop | 0.500 [0.400, 0.600] |\n"
        "| dense | multi \\| hop | 0.250 |\n"
        "| mnemos | [bold]time | 1.00e-04 |\n\n"
        "- Alpha, 2 cores, Python 3.11.9, Linux x86_64\n"
        "- commit 012345678, 12.3 s, 999 questions, 12,345 turns, seeds 0 1, 1970-01-01T00:00 UTC\n"
    )


def test_the_terminal_table_shows_the_same_cells_and_takes_no_markup_from_them() -> None:
    shown = _rendered(TASK)
    for text in ("0.500 [0.400, 0.600]", "multi | hop", "[bold]time", "Alpha, 2 cores", "commit 012345678"):
        assert text in shown


WIDE = replace(
    TASK,
    name="wide",
    rows=tuple(
        {"data": data, "system": f"the system number {n}", **{f"{data} measure {m} of it": n + m / 8 for m in range(9)}}
        for data in ("talk", "books") for n in range(3)
    ),
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200, 400])
def test_no_table_is_wider_than_the_terminal_and_no_cell_is_lost(width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(table(WIDE))
    lines = out.getvalue().splitlines()
    assert all(line.rstrip()[-1:] in "┓┩┃│┘" for line in lines if line[:1] in "┏┡┃│└" and line.strip())
    assert "…" not in out.getvalue()
    for data in ("talk", "books"):
        assert data in out.getvalue()
    cells = " ".join(out.getvalue().replace("┃", " ").replace("│", " ").split())
    for row in WIDE.rows:
        assert all(f"{v:.3f}" in cells or f"{v:g}" in cells for v in row.values() if isinstance(v, float))


def test_rows_of_one_kind_share_a_table_whose_title_has_what_they_share() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(table(WIDE))
    titles = [line.strip() for line in out.getvalue().splitlines() if line.startswith("wide")]
    assert set(titles) == {"wide, data talk", "wide, data books"}
    assert out.getvalue().count("Alpha, 2 cores") == 1


def test_a_claim_stands_upright_where_its_columns_have_no_room() -> None:
    out = io.StringIO()
    Console(file=out, width=60).print(table(CLAIM))
    assert "│ claim" in out.getvalue()
    assert "fusion beats dense" in out.getvalue()
    assert "…" not in out.getvalue()


def test_a_result_without_rows_shows_its_measures() -> None:
    assert "| locomo | 0.521 [0.499, 0.544] |" in markdown(replace(TASK, rows=()))


def test_results_of_one_machine_stand_side_by_side_without_a_machine_column() -> None:
    text = markdown([TASK, replace(SCALE, measures={"p95 ms": 3})])
    assert "| name | recall@10 | p95 ms |" in text
    assert "| locomo | 0.521 [0.499, 0.544] |  |" in text
    assert "| scale |  | 3 |" in text


def test_results_of_different_machines_say_which_row_is_whose() -> None:
    text = markdown([TASK, replace(SCALE, machine=THERE)])
    assert "| name | recall@10 | machine |" in text
    assert "- machine 2: Beta, 64 cores, Python 3.12.1, Linux x86_64" in text
    assert "| scale | 0.521 [0.499, 0.544] | 2 |" in text


def test_claims_show_the_paper_beside_what_was_measured() -> None:
    text = markdown([CLAIM, replace(CLAIM, name="amem", machine=None, commit=None)])
    assert "| system | claim | paper | ours | baseline | verdict | size | seconds | seeds | commit |" in text
    assert "| memgas | fusion beats dense | +5 % | 0.520 | 0.430 | holds | 999 questions, 12,345 turns |" in text
    assert "| 12.3 | 0 1 | 012345678 |" in text
    assert "machine unknown" in text


def test_nothing_to_show_is_said() -> None:
    for show in (table, markdown):
        with pytest.raises(InvalidInput, match="no results"):
            show([])


def test_a_table_is_the_same_from_the_file_as_from_the_run(tmp_path: Path) -> None:
    assert markdown(load(save(TASK, tmp_path))) == markdown(TASK)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_is_made_again_byte_for_byte(tmp_path: Path, suffix: str) -> None:
    again = load(save(SCALE, tmp_path))
    first = plot(SCALE, tmp_path / f"a{suffix}", x="records", y="p95 ms").read_bytes()
    assert plot(again, tmp_path / f"b{suffix}", x="records", y="p95 ms").read_bytes() == first
    assert first[:8] == b"\x89PNG\r\n\x1a\n" or b"<svg" in first


def test_lines_carry_their_systems_colours_names_and_machine(tmp_path: Path) -> None:
    text = plot(SCALE, tmp_path / "new" / "a.svg", x="records", y="p95 ms").read_text()
    for expected in (
        colour("mnemos").lower(),
        colour("dense").lower(),
        ">mnemos<",
        ">dense<",
        "Alpha, 2 cores",
    ):
        assert expected in text
    assert ">p95 ms<" in text


def test_an_axis_is_logarithmic_only_when_its_numbers_span_a_factor_of_100(tmp_path: Path) -> None:
    narrow = replace(SCALE, rows=tuple(row for row in SCALE.rows if row["records"] > 1_000))
    powers = "<tspan"  # only powers of ten are set in pieces
    assert powers in plot(SCALE, tmp_path / "a.svg", x="records", y="p95 ms").read_text()
    assert powers not in plot(narrow, tmp_path / "b.svg", x="records", y="p95 ms").read_text()


def test_bars_are_drawn_over_words_in_the_same_colours(tmp_path: Path) -> None:
    text = plot(TASK, tmp_path / "a.svg", x="category", y="recall@10").read_text()
    assert colour("mnemos").lower() in text
    assert colour("dense").lower() in text
    assert ">multi | hop<" in text


def test_a_systems_colour_does_not_depend_on_its_company() -> None:
    names = [f"system{n}" for n in range(30)] + ["mnemos", "lexical", "dense"]
    assert {colour(name) for name in names} <= set(PALETTE)
    assert len({colour(name) for name in ("mnemos", "lexical", "dense")}) == 3
    assert colour("hipporag2") not in {colour("mnemos"), colour("lexical"), colour("dense")}


def test_systems_of_one_colour_are_told_apart_otherwise() -> None:
    names = [f"system{n}" for n in range(6)]
    variants = report._variants(names)
    assert len({(colour(name), variants[name]) for name in names}) == len(names)


def test_a_plot_refuses_what_would_mislead(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="different machines"):
        plot([SCALE, replace(SCALE, machine=THERE)], tmp_path / "a.png", x="records", y="p95 ms")
    with pytest.raises(InvalidInput, match=r"no row has 'record'.*records, p95 ms"):
        plot(SCALE, tmp_path / "a.png", x="record", y="p95 ms")
    with pytest.raises(InvalidInput, match=r"\.png nor \.svg"):
        plot(SCALE, tmp_path / "a.pdf", x="records", y="p95 ms")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"mnemos\[bench\]"):
        plot(SCALE, tmp_path / "a.png", x="records", y="p95 ms")
