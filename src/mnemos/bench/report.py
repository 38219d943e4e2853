"""Tables and plots of results, drawn from their JSON files alone.

`table` and `markdown` show the same cells: one result's rows, or several results side by side, or claims
with what the paper says beside what was measured. Each says at its foot on which machine, for results of
different machines row by row. `plot` gives a system the same colour in every figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from zlib import crc32

from mnemos.bench.results import Result
from mnemos.core.clock import iso
from mnemos.core.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console, ConsoleOptions, RenderResult

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080", "#332288", "#882255", "#999933")
"""Okabe and Ito's colours, told apart by colour-blind readers too; grey for their black, which would hide
error bars, without their yellow, too pale for lines, and with three of Tol's."""
SERIES = "system"
"""The column of `Result.rows` that names what is compared."""
THEORY = "theory"
"""A series whose name starts so was not measured, and is drawn as a dashed line."""

# these meet in most figures; the colour of any other follows from its name
_FIXED = ("mnemos", "lexical", "dense")
_MARKERS = "osD^vPX"
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo")
_DASHES = ("--", ":", "-.")
_MANY = 6  # bars whose names would run into each other if they were not turned
_TEXT = 16  # characters to which a column of text may be squeezed
_LOG_SPAN = 100  # an axis that spans more than this shows its small end only if it is logarithmic


@dataclass(frozen=True, slots=True)
class _Grid:
    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: set[int]
    """Which columns are set flush right."""
    notes: list[str]


class Fitted:
    """A table for the terminal; several, where one would not fit into its width.

    Those have the rows of one kind each, without the cells that they share, which stand in the title instead, and as
    many columns of numbers as there is room for. Columns of text are broken into lines if need be; where there are too
    many of them, each row stands upright.
    """

    def __init__(self, grid: _Grid) -> None:
        self._grid = grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The tables, and below the last one where it all comes from."""
        from rich.table import Table
        from rich.text import Text

        for grid in _fitted(self._grid, options.max_width):
            out = Table(title=Text(grid.title), title_justify="left")
            whole = 1 + sum(max(_least(grid, n), len(grid.columns[n])) + 3 for n in range(len(grid.columns)))
            roomy = whole <= options.max_width
            for index, column in enumerate(grid.columns):
                if index in grid.numeric:
                    room = max(len(column) if roomy else 0, _least(grid, index))
                    out.add_column(Text(column), justify="right", width=room)
                else:
                    out.add_column(Text(column), min_width=_least(grid, index))
            for row in grid.rows:
                out.add_row(*(Text(cell) for cell in row))
            yield out
        yield Text("\n".join(self._grid.notes), style="dim")


def table(results: Result | Sequence[Result]) -> Fitted:
    """A table for the terminal, to be printed by rich.

    Args:
        results: one result (its rows, or its measures where it has none), or several.

    Raises:
        InvalidInput: no results.
    """
    return Fitted(_grid(results))


def markdown(results: Result | Sequence[Result]) -> str:
    """The same table as Markdown, notes below it. Raises as `table`."""
    grid = _grid(results)
    rules = ["---:" if index in grid.numeric else "---" for index in range(len(grid.columns))]
    lines = [_line([_cell(column) for column in grid.columns]), _line(rules)]
    lines += [_line([_cell(cell) for cell in row]) for row in grid.rows]
    notes = [f"- {note}" for note in grid.notes]
    return "\n".join([f"### {grid.title}", "", *lines, "", *notes]) + "\n"


def plot(results: Result | Sequence[Result], path: Path, *, x: str, y: str) -> Path:
    """Draw column `y` over column `x` of the rows, one series per system, to a PNG or SVG file.

    Lines where every x is a number, grouped bars otherwise. Columns `<y> low` and `<y> high` become error
    bars. An axis of positive numbers that spans a factor of 100 is logarithmic. One input gives one file,
    byte for byte.

    Args:
        results: whose rows to draw; all from one machine.
        path: ends in .png or .svg.
        x: a column of text or numbers.
        y: a column of numbers.

    Raises:
        InvalidInput: no row has both columns, results of different machines, or another kind of file.
        MissingExtra: matplotlib is not installed.
    """
    chosen = _several(results)
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise InvalidInput(f"{path} is neither .png nor .svg: name the file with one of them")
    if len(_machines(chosen)) > 1:
        raise InvalidInput("the results come from different machines, whose times do not compare: plot them apart")
    series = _series(chosen, x, y)
    try:
        import matplotlib
        from matplotlib.figure import Figure  # draws without pyplot, hence without its global state
    except ImportError:
        raise MissingExtra("plotting benchmark results", "bench") from None

    with matplotlib.rc_context({"svg.hashsalt": "mnemos", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        points = [point for members in series.values() for point in members]
        if all(_is_number(point[0]) for point in points):
            _draw_lines(axes, series)
            axes.grid(alpha=0.25)
            if _wide([point[0] for point in points]):
                axes.set_xscale("log")
            if _wide([point[1] for point in points]):
                axes.set_yscale("log")
        else:
            _draw_bars(axes, series)
            axes.grid(alpha=0.25, axis="y")
        axes.set(xlabel=x, ylabel=y, title=", ".join(dict.fromkeys(r.name for r in chosen)))
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1 and x != "system":
            figure.legend(loc="outside right upper", frameon=False, fontsize=8 if len(series) > _MANY else None)
        figure.supxlabel("\n".join(_notes(chosen)), fontsize=6, color="#555555", x=0.01, ha="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=160, metadata=stamp)
    return path


def colour(system: str) -> str:
    """The colour of `system` in every figure, as #rrggbb."""
    if system in _FIXED:
        return PALETTE[_FIXED.index(system)]
    others = PALETTE[len(_FIXED) :]
    return others[crc32(system.encode()) % len(others)]


Point = tuple[Any, float, float, float]
"""x, y, and how far the error bar reaches below and above."""


def _series(results: Sequence[Result], x: str, y: str) -> dict[str, list[Point]]:
    series: dict[str, list[Point]] = {}
    for result in results:
        for row in result.rows:
            value = row.get(y)
            if row.get(x) is None or not _is_number(value):
                continue
            low, high = row.get(f"{y} low"), row.get(f"{y} high")
            below = max(0.0, value - low) if _is_number(low) else 0.0
            above = max(0.0, high - value) if _is_number(high) else 0.0
            point = (row[x], float(value), below, above)
            series.setdefault(str(row.get(SERIES, result.name)), []).append(point)
    if not series:
        known = dict.fromkeys(column for result in results for row in result.rows for column in row)
        raise InvalidInput(f"no row has {x!r} and a number in {y!r}; the columns are {', '.join(known) or 'none'}")
    return series


def _variants(names: Sequence[str]) -> dict[str, int]:
    """Numbers systems that share a colour, so that markers and hatches tell them apart."""
    used: dict[str, int] = {}
    variants = {}
    for name in sorted(names):
        variants[name] = used.get(colour(name), 0)
        used[colour(name)] = variants[name] + 1
    return variants


def _draw_lines(axes: Axes, series: Mapping[str, list[Point]]) -> None:
    variants = _variants(list(series))
    for name, points in series.items():
        xs, ys, below, above = zip(*sorted(points), strict=True)
        if name.startswith(THEORY):
            axes.plot(xs, ys, color="#333333", linestyle=_DASHES[len(axes.lines) % len(_DASHES)], label=name, zorder=9)
            continue
        marker = _MARKERS[variants[name] % len(_MARKERS)]
        error = [below, above] if any(below) or any(above) else None
        axes.errorbar(xs, ys, yerr=error, color=colour(name), marker=marker, label=name, capsize=2)


def _draw_bars(axes: Axes, series: Mapping[str, list[Point]]) -> None:
    variants = _variants(list(series))
    labels = list(dict.fromkeys(str(point[0]) for points in series.values() for point in points))
    alone = labels == list(series)  # one bar for each label, named below it
    width = 0.6 if alone else 0.8 / len(series)
    for index, (name, points) in enumerate(series.items()):
        offset = 0.0 if alone else width * (index + 0.5) - 0.4
        places = [labels.index(str(p[0])) + offset for p in points]
        error = [[p[2] for p in points], [p[3] for p in points]] if any(p[2] or p[3] for p in points) else None
        hatch = "" if alone else _HATCHES[variants[name] % len(_HATCHES)]  # a name below tells enough apart
        style: dict[str, Any] = {"color": colour(name), "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        axes.bar(places, [p[1] for p in points], width, yerr=error, label=name, capsize=2, **style)
    axes.set_xticks(range(len(labels)), labels)
    if len(labels) > _MANY:
        axes.tick_params(axis="x", labelrotation=90, labelsize=8)


def _wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= _LOG_SPAN * min(values)


def _grid(results: Result | Sequence[Result]) -> _Grid:
    chosen = _several(results)
    if all(result.claim is not None for result in chosen):
        title, cells = "claims", [_claim_cells(result) for result in chosen]
    elif len(chosen) == 1 and chosen[0].rows:
        title, cells = chosen[0].name, [dict(row) for row in chosen[0].rows]
    else:
        title = chosen[0].name if len(chosen) == 1 else "results"
        cells = [{"name": result.name, **result.measures} for result in chosen]
    machines = _machines(chosen)
    if len(machines) > 1:
        for result, row in zip(chosen, cells, strict=True):
            row["machine"] = machines.index(_machine(result)) + 1
    columns = list(dict.fromkeys(column for row in cells for column in row))
    bounds = {f"{column} {end}" for column in columns for end in ("low", "high")}  # shown within their column
    shown = [column for column in columns if column not in bounds]
    numeric = {
        index
        for index, column in enumerate(shown)
        if all(row.get(column) is None or _is_number(row[column]) for row in cells)
    }
    rows = [[_show(row, column) for column in shown] for row in cells]
    return _Grid(title, shown, rows, numeric, _notes(chosen))


def _fitted(grid: _Grid, width: int) -> list[_Grid]:
    """`grid`, or several of its rows and columns that are no wider than `width` as far as that can be."""
    if _width(grid, range(len(grid.columns))) <= width:
        return [grid]
    if _width(grid, (n for n in range(len(grid.columns)) if n not in grid.numeric)) > width:
        return [_upright(grid, row) for row in grid.rows]
    kinds: dict[tuple[bool, ...], list[list[str]]] = {}
    for row in grid.rows:
        kinds.setdefault(tuple(map(bool, row)), []).append(row)
    return [part for filled, rows in kinds.items() for part in _cut(grid, filled, rows, width)]


def _cut(grid: _Grid, filled: Sequence[bool], rows: list[list[str]], width: int) -> list[_Grid]:
    """Tables of `rows`, whose cells are `filled` or not: what they have in common, then their columns in portions."""
    there = [index for index in range(len(grid.columns)) if filled[index]]
    shared = [n for n in there if n not in grid.numeric and len(rows) > 1 and len({row[n] for row in rows}) == 1]
    labels = [n for n in there if n not in grid.numeric and n not in shared]
    whole = replace(
        grid, title=", ".join([grid.title, *(f"{grid.columns[n]} {rows[0][n]}" for n in shared)]), rows=rows
    )
    portions: list[list[int]] = [[]]
    for n in (index for index in there if index in grid.numeric):
        if portions[-1] and _width(whole, [*labels, *portions[-1], n]) > width:
            portions.append([])
        portions[-1].append(n)
    return [_part(whole, [*labels, *portion]) for portion in portions]


def _upright(grid: _Grid, row: Sequence[str]) -> _Grid:
    """One row from top to bottom."""
    first, *others = zip(grid.columns, row, strict=True)
    return _Grid(grid.title, [*first], [[*pair] for pair in others if pair[1]], set(), grid.notes)


def _part(grid: _Grid, which: Sequence[int]) -> _Grid:
    numeric = {place for place, index in enumerate(which) if index in grid.numeric}
    rows = [[row[index] for index in which] for row in grid.rows]
    return _Grid(grid.title, [grid.columns[index] for index in which], rows, numeric, grid.notes)


def _width(grid: _Grid, which: Iterable[int]) -> int:
    """Characters that a table of some columns needs."""
    return 1 + sum(_least(grid, index) + 3 for index in which)


def _least(grid: _Grid, column: int) -> int:
    """Characters that a column needs: headers break between words, text of some length anywhere."""
    cells = max((len(row[column]) for row in grid.rows), default=0)
    return max(cells if column in grid.numeric else min(cells, _TEXT), *map(len, grid.columns[column].split()))


def _claim_cells(result: Result) -> dict[str, Any]:
    assert result.claim is not None
    return {
        "system": result.name,
        "claim": result.claim.statement,
        "paper": result.claim.paper,
        "ours": result.claim.ours,
        "baseline": result.claim.baseline,
        "verdict": result.claim.verdict,
        "size": _pairs(result.size),
        "seconds": round(result.seconds, 1),
        "seeds": " ".join(str(seed) for seed in result.seeds),
        "commit": (result.commit or "unknown")[:9],
    }


def _notes(results: Sequence[Result]) -> list[str]:
    machines = _machines(results)
    named = [f"machine {i}: {label}" if len(machines) > 1 else label for i, label in enumerate(machines, 1)]
    if len(results) > 1:
        return named
    one = results[0]
    run = [f"commit {(one.commit or 'unknown')[:9]}", f"{one.seconds:.1f} s"]
    run += [_pairs(one.size)] if one.size else []
    run += [f"seeds {' '.join(str(seed) for seed in one.seeds)}"] if one.seeds else []
    run += [iso(one.started_at)[:16] + " UTC"] if one.started_at is not None else []
    return [*named, ", ".join(run)]


def _several(results: Result | Sequence[Result]) -> list[Result]:
    chosen = [results] if isinstance(results, Result) else list(results)
    if not chosen:
        raise InvalidInput("there are no results to show: run a benchmark first")
    return chosen


def _machine(result: Result) -> str:
    return result.machine.label if result.machine else "machine unknown"


def _machines(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(_machine(result) for result in results))


def _show(row: Mapping[str, Any], column: str) -> str:
    shown = _text(row.get(column))
    low, high = row.get(f"{column} low"), row.get(f"{column} high")
    return shown if low is None or high is None else f"{shown} [{_text(low)}, {_text(high)}]"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        size = abs(value)
        return f"{value:.2e}" if size < 0.001 else f"{value:.3f}" if size < 10 else f"{value:,.1f}"
    if _is_number(value):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"
    return str(value)


def _pairs(size: Mapping[str, float]) -> str:
    return ", ".join(f"{_text(value)} {key}" for key, value in size.items())


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
