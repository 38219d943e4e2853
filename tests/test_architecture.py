"""The house stands: imports run downwards, and no room of the base loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "mnemos"
FLOORS = {"core": 0, "text": 1, "state": 1, "compat": 2, "models": 2, "learn": 2, "bench": 4, "cli": 5, "data": 0}
WINGS = ("text", "state")


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_no_file_imports_from_a_floor_above_its_own() -> None:
    for file in SOURCE.rglob("*.py"):
        room = file.relative_to(SOURCE).parts[0]
        if room not in FLOORS:
            continue
        for name in _imports(file):
            parts = name.split(".")
            if parts[0] == "mnemos" and len(parts) > 1 and parts[1] in FLOORS:
                assert FLOORS[parts[1]] <= FLOORS[room], f"{file}: {name}"


def test_no_wing_imports_another() -> None:
    for wing in WINGS:
        for file in (SOURCE / wing).rglob("*.py"):
            for name in _imports(file):
                parts = name.split(".")
                assert parts[0] != "mnemos" or len(parts) == 1 or parts[1] not in set(WINGS) - {wing}, f"{file}: {name}"


def test_no_sql_leaves_the_store() -> None:
    for file in (SOURCE / "text").rglob("*.py"):
        if file.parent.name != "store":
            assert not {"apsw", "sqlite3"} & _imports(file), file


def test_no_base_room_names_torch() -> None:
    torch_tasks = {SOURCE / "bench" / "claims", SOURCE / "bench" / "tasks", SOURCE / "bench" / "neural"}
    for room in ("core", "text", "cli", "compat", "bench"):
        for file in (SOURCE / room).rglob("*.py"):
            if torch_tasks & set(file.parents):
                continue  # loaded when they are run
            assert not any(name.split(".")[0] in ("torch", "transformers") for name in _imports(file)), file


def test_a_working_memory_has_loaded_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from mnemos import Memory\n"
        f"with Memory({str(tmp_path / 'm')!r}) as mem:\n"
        "    mem.add('I moved to Porto', speaker='Ada'); mem.ask('Where does Ada live?')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
