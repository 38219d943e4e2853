"""What a benchmark leaves behind: one JSON file with the numbers, how they were made, and where.

Tables and plots are drawn from these files alone (`mnemos.bench.report`), so a figure can always be
made again, and a number always says which machine, commit and seeds it came from.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from mnemos.core.clock import Time, iso, parse_time
from mnemos.core.errors import InvalidInput, NotFound

SCHEMA = 1
"""Version of the file format."""
Verdict = Literal["holds", "partly", "fails"]

_PACKAGES = ("mnemos", "numpy", "scipy", "apsw", "snowballstemmer", "onnxruntime", "tokenizers", "faiss-cpu", "torch")
"""Those whose version can change a score or a time."""
_SLUG = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran. Nothing in it names a person or a host."""

    cpu: str
    cores: int
    """Those that this process may use."""
    python: str
    platform: str
    packages: Mapping[str, str] = field(default_factory=dict)
    """Installed versions, by distribution name."""

    @property
    def label(self) -> str:
        """One line for a table's foot. Times may share a column where it is the same."""
        return f"{self.cpu}, {self.cores} cores, Python {self.python}, {self.platform}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a claim: the paper's word against ours.

    Raises:
        InvalidInput: an unknown verdict or an empty statement.
    """

    statement: str
    """The comparison that was run, and the direction that was expected."""
    paper: float | str
    """The paper's value, with its unit if it is text."""
    ours: float | str
    """What was measured here, in the same unit."""
    baseline: float | str
    """The peer or the limit beside it, measured here as well."""
    verdict: Verdict

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise InvalidInput(f"verdict {self.verdict!r}: one of {', '.join(get_args(Verdict))}")
        if not isinstance(self.statement, str) or not self.statement.strip():
            raise InvalidInput("a claim needs a statement: say what is compared and what is expected")
        for name in ("paper", "ours", "baseline"):
            value = getattr(self, name)
            if not isinstance(value, str) and not _is_number(value):
                raise InvalidInput(f"{name} = {value!r}: give a finite number, or text with its unit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of a task or a claim.

    A task fills in the first half; the runner stamps the rest when the run is complete.

    Raises:
        InvalidInput: a name that is no slug, or a measure or size that is not a finite number.
    """

    name: str
    """Slug of the task or claim."""
    measures: Mapping[str, float]
    """The figures that the run is judged by. A 95 % interval of `x` goes by `x low` and `x high`."""
    rows: Sequence[Mapping[str, Any]] = ()
    """The table behind them, one mapping of column to text or number each; `system` names the series."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Everything needed to run it again, as JSON data."""
    size: Mapping[str, float] = field(default_factory=dict)
    """How much was measured: {"questions": 999, "turns": 2900}."""
    seeds: Sequence[int] = ()
    claim: Finding | None = None
    """Set for claims, None for tasks."""

    seconds: float = 0.0
    """Wall time of the whole run."""
    machine: Machine | None = None
    commit: str | None = None
    """Of the code that ran; ends in `+changed` where files of the package differed from it."""
    started_at: Time | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _SLUG.fullmatch(self.name):
            raise InvalidInput(f"name {self.name!r} is no slug: lower-case letters, digits, underscores")
        for what, numbers in (("measure", self.measures), ("size", self.size)):
            for key, value in numbers.items():
                if not _is_number(value):
                    raise InvalidInput(f"{what} {key!r} of {self.name} is {value!r}: give a finite number")


def save(result: Result, directory: Path) -> Path:
    """Write `result` to `<directory>/<name>.json`, whole or not at all; returns the path.

    Raises:
        InvalidInput: the folder cannot be written, or config or rows hold something that JSON does not.
    """
    path = Path(directory) / f"{result.name}.json"
    try:
        text = json.dumps(to_dict(result), ensure_ascii=False, allow_nan=False, indent=2, default=_plain)
    except (TypeError, ValueError) as why:
        raise InvalidInput(f"{result.name} is not JSON ({why}): keep text, numbers and lists in it") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text + "\n")
    except OSError as why:
        raise InvalidInput(f"cannot write {path} ({why}): choose a folder that can be written") from None
    return path


def check_writable(directory: Path) -> None:
    """Say before a long run, not after it, that its result could not be saved. Makes nothing.

    Raises:
        InvalidInput: `directory` cannot be written or made.
    """
    there = next(path for path in (Path(directory).absolute(), *Path(directory).absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InvalidInput(f"cannot write results to {directory} ({there} is in the way): choose another folder")


def load(path: Path) -> Result:
    """The result in the file at `path`.

    Raises:
        NotFound: no such file.
        InvalidInput: the file is not a result, or was written by a newer version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return from_dict(data)
    except FileNotFoundError:
        raise NotFound(f"no result at {path}: run the benchmark first") from None
    except (OSError, ValueError) as why:  # JSON and text errors are ValueErrors, and so is InvalidInput
        raise InvalidInput(f"{path} is not a benchmark result: {why}") from None


def load_all(directory: Path) -> list[Result]:
    """Every result in `directory`, by file name; empty where there is none.

    Raises:
        InvalidInput: as `load`.
    """
    return [load(path) for path in sorted(Path(directory).glob("*.json"))]


def to_dict(result: Result) -> dict[str, Any]:
    """`result` as plain data; the time in ISO 8601."""
    data = {"schema": SCHEMA, **asdict(result)}
    if result.started_at is not None:
        data["started_at"] = iso(result.started_at)
    return data


def from_dict(data: Any) -> Result:
    """The result of `to_dict`'s data.

    Raises:
        InvalidInput: which field is missing, unknown or of the wrong type.
    """
    if not isinstance(data, dict):
        raise InvalidInput(f"a result is a mapping, and this is {type(data).__name__}")
    if data.get("schema") != SCHEMA:
        raise InvalidInput(f"schema {data.get('schema')!r}: this version reads {SCHEMA}; update mnemos")
    fields = _typed(
        {key: value for key, value in data.items() if key != "schema"},
        {
            "name": str, "measures": dict, "rows": list, "config": dict, "size": dict, "seeds": list,
            "claim": (dict, type(None)), "seconds": (int, float), "machine": (dict, type(None)),
            "commit": (str, type(None)), "started_at": (str, type(None)),
        },
        "result",
    )  # fmt: skip
    if not all(isinstance(row, dict) for row in fields["rows"]):
        raise InvalidInput("a row of the result is not a mapping of columns to values")
    if fields["claim"] is not None:
        value = (int, float, str)
        types = {"statement": str, "paper": value, "ours": value, "baseline": value, "verdict": str}
        fields["claim"] = Finding(**_typed(fields["claim"], types, "claim"))
    if fields["machine"] is not None:
        types = {"cpu": str, "cores": int, "python": str, "platform": str, "packages": dict}
        fields["machine"] = Machine(**_typed(fields["machine"], types, "machine"))
    if fields["started_at"] is not None:
        fields["started_at"] = parse_time(fields["started_at"])
    return Result(**fields | {"rows": tuple(fields["rows"]), "seeds": tuple(fields["seeds"])})


def this_machine() -> Machine:
    """The machine that runs this, as far as it can be told; never fails, imports none of the packages."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    system = f"{platform.system()} {platform.machine()}"
    return Machine(_cpu(), cores, platform.python_version(), system, packages)


def this_commit(directory: Path | None = None) -> str | None:
    """The git commit of the package's source, or of `directory`; None where it is not in a checkout."""
    where = directory or Path(__file__).parents[1]

    def git(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(where), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )

    try:
        # an installed package may lie inside somebody else's checkout: only tracked files count
        if not git("ls-files", ".").stdout.strip():
            return None
        head = git("rev-parse", "HEAD")
        if head.returncode:
            return None
        return head.stdout.strip() + ("+changed" if git("status", "--porcelain", ".").stdout.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine() or "unknown"


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _typed(data: Mapping[str, Any], types: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`data`, if it has exactly the keys of `types` with values of those types."""
    if missing := [key for key in types if key not in data]:
        raise InvalidInput(f"the {what} lacks {', '.join(missing)}")
    if unknown := sorted(data.keys() - types.keys()):
        raise InvalidInput(f"the {what} has unknown fields: {', '.join(unknown)}")
    for key, expected in types.items():
        if not isinstance(data[key], expected) or isinstance(data[key], bool):
            raise InvalidInput(f"{key} of the {what} is {data[key]!r}, which has the wrong type")
    return dict(data)


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False


def _plain(value: object) -> Any:
    """What JSON does not know: numpy's scalars and arrays, paths."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")
