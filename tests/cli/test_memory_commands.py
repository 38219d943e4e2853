"""add, search, ask, list, show, update, history, forget, restore, undo, operations, consolidate."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Run


def test_add_makes_the_store_and_gives_the_id(run: Run, home: Path) -> None:
    done = run("add", "hello", "--meta", "topic=greeting", "--kind", "note", "--json")
    assert done.code == 0
    assert (home / "memory.mnemos").is_file()
    shown = run("show", done.data["id"], "--json").data
    assert (shown["text"], shown["kind"], shown["metadata"]) == ("hello", "note", {"topic": "greeting"})


def test_add_reads_stdin_and_says_what_it_did(run: Run) -> None:
    done = run("add", "-", stdin="first line\nzweite Zeile äöü\n")
    assert done.code == 0
    assert "remembered" in done.out
    assert run("list", "--json").data[0]["text"] == "first line\nzweite Zeile äöü"


def test_a_second_add_with_the_same_key_stores_nothing(run: Run) -> None:
    first = run("add", "one", "--key", "k", "--json").data["id"]
    assert run("add", "two", "--key", "k", "--json").data["id"] == first
    assert len(run("list", "--json").data) == 1


def test_search_shows_score_speaker_time_text_and_reasons(run: Run, told: dict[str, str]) -> None:
    done = run("search", "What is the cat called?")
    assert done.code == 0
    for part in ("Ben", "2025-03-02 10:01", "My cat is called Bruno", "why", "words: cat", told["cat"]):
        assert part in done.out
    assert done.err == ""


def test_search_as_json_is_one_document_with_iso_times(run: Run, told: dict[str, str]) -> None:
    first = run("search", "cat", "-k", "1", "--json").data[0]
    assert (first["id"], first["at"], first["kind"]) == (told["cat"], "2025-03-02T10:01", "turn")
    assert "parts" not in first
    assert "parts" in run("search", "cat", "-k", "1", "--explain", "--json").data[0]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--speaker", "Ada"], {"lisbon", "boat"}),
        (["--session", "spring"], {"lisbon", "cat"}),
        (["--since", "2025-03-02T10:01"], {"cat", "boat"}),
        (["--until", "2025-03-02T10:01"], {"lisbon"}),
        (["--kind", "note"], set()),
        (["--kind", "note", "--kind", "turn"], {"lisbon", "cat", "boat"}),
        (["--as-of", "2025-05-01"], {"lisbon", "cat"}),
    ],
)
def test_filters_narrow_list_and_search_alike(
    run: Run, told: dict[str, str], filters: list[str], expected: set[str]
) -> None:
    wanted = {told[name] for name in expected}
    assert {one["id"] for one in run("list", *filters, "--json").data} == wanted
    assert {one["id"] for one in run("search", "boat cat Lisbon", *filters, "--json").data} == wanted


def test_ask_answers_with_what_it_rests_on(run: Run, told: dict[str, str]) -> None:
    answer = run("ask", "Where does Ada live?", "--json").data
    assert answer["found"] is True
    assert "Lisbon" in answer["text"]
    assert answer["citations"]
    shown = run("ask", "Where does Ada live?")
    assert shown.code == 0
    assert "★" in shown.out
    assert "I live in Lisbon" in shown.out
    assert "confidence" in shown.out


def test_ask_about_what_was_never_said_is_no_failure(run: Run, told: dict[str, str]) -> None:
    done = run("ask", "zxqv?", "--until", "1999-01-01")
    assert done.code == 0
    assert "not in memory" in done.out
    assert run("ask", "zxqv?", "--until", "1999-01-01", "--json").data["found"] is False


def test_list_goes_on_after_an_id_and_hides_what_is_forgotten(run: Run, told: dict[str, str]) -> None:
    page = run("list", "--limit", "2")
    assert told["lisbon"] in page.out
    assert told["boat"] not in page.out
    assert f"--after {told['cat']}" in page.err
    assert [one["id"] for one in run("list", "--after", told["cat"], "--json").data] == [told["boat"]]
    run("forget", told["cat"])
    assert len(run("list", "--json").data) == 2
    assert len(run("list", "--hidden", "--json").data) == 3
    assert "(hidden) My cat" in run("list", "--hidden").out


def test_an_empty_result_names_the_scope_and_the_scopes_that_hold_something(run: Run, home: Path) -> None:
    run("add", "secret", "--user", "ada")
    done = run("list")
    assert done.code == 0
    assert "no user" in done.err
    assert "--user ada" in done.err
    assert run("list", "--json").data == []


def test_users_and_agents_are_walls(run: Run) -> None:
    id = run("add", "my code is 4711", "--user", "ada", "--agent", "a", "--json").data["id"]
    assert run("search", "code", "--user", "ada", "--agent", "a", "--json").data[0]["id"] == id
    assert run("search", "code", "--user", "ada", "--json").data == []
    assert run("show", id, "--user", "bob").code == 1


def test_update_keeps_the_version_before(run: Run, told: dict[str, str]) -> None:
    done = run("update", told["lisbon"], "I live in Porto", "--meta", "sure=yes", "--json").data
    assert (done["id"], done["text"], done["metadata"]) == (
        told["lisbon"],
        "I live in Porto",
        {"sure": "yes"},
    )
    versions = run("history", told["lisbon"], "--json").data
    assert [v["record"]["text"] for v in versions] == ["I live in Lisbon", "I live in Porto"]
    assert [v["operation"]["kind"] for v in versions] == ["add", "update"]
    shown = run("history", told["lisbon"]).out
    assert "I live in Lisbon" in shown
    assert "update" in shown
    assert "I live in Porto" in run("update", told["lisbon"], "I live in Porto now").out


def test_show_has_every_field_and_both_forms(run: Run, told: dict[str, str]) -> None:
    out = run("show", told["lisbon"]).out
    for part in ("I live in Lisbon", told["lisbon"], "Ada", "2025-03-02T10:00", "spring"):
        assert part in out
    data = run("show", told["lisbon"], "--json").data
    assert data["at"] == "2025-03-02T10:00"
    assert data["recorded_at"][:2] == "20"


def test_forget_restore_undo_and_operations(run: Run, told: dict[str, str]) -> None:
    receipt = run("forget", told["cat"], told["boat"], "--json").data
    assert set(receipt["ids"]) == {told["cat"], told["boat"]}
    assert receipt["hard"] is False
    assert run("restore", told["cat"], "--json").data["id"] == told["cat"]
    assert "My cat" in run("list").out
    last = run("operations", "--limit", "1", "--json").data[0]
    assert last["kind"] == "restore"
    undone = run("undo", last["id"], "--json").data
    assert undone["kind"] == "undo"
    assert undone["note"] == {"undone": last["id"]}
    assert len(run("list", "--json").data) == 1
    shown = run("operations").out
    assert "forget" in shown
    assert "undone" in shown
    assert "undone" in run("undo", undone["id"]).out


def test_restore_shows_what_came_back(run: Run, told: dict[str, str]) -> None:
    run("forget", told["cat"])
    assert "My cat is called Bruno" in run("restore", told["cat"]).out


def test_forget_by_filter_takes_only_those(run: Run, told: dict[str, str]) -> None:
    done = run("forget", "--session", "spring")
    assert "2 forgotten" in done.out
    assert [one["id"] for one in run("list", "--json").data] == [told["boat"]]


def test_a_hard_forget_asks_and_no_is_no(run: Run, told: dict[str, str]) -> None:
    for answer in ("n\n", ""):
        done = run("forget", told["cat"], "--hard", stdin=answer)
        assert done.code == 1
        assert "nothing was forgotten" in done.err
    assert len(run("list", "--json").data) == 3


def test_a_hard_forget_erases_and_proves_it(run: Run, told: dict[str, str], home: Path) -> None:
    done = run("forget", "--speaker", "Ben", "--hard", "--json", stdin="y\n")
    assert done.data["verified"] is True
    assert done.data["ids"] == [told["cat"]]
    assert "Erase 1" in done.err
    for file in home.glob("memory.mnemos*"):
        assert b"called Bruno" not in file.read_bytes()
    assert run("show", told["cat"]).code == 1
    shown = run("forget", told["boat"], "--hard", "--yes")
    assert "1 erased" in shown.out
    assert "they are gone" in shown.out


def test_forget_everything_is_of_this_scope(run: Run, told: dict[str, str]) -> None:
    run("add", "kept", "--user", "ada")
    assert run("forget", "--everything").code == 0
    assert run("list", "--json").data == []
    assert len(run("list", "--user", "ada", "--json").data) == 1


@pytest.mark.parametrize("arguments", [[], ["--hard"], ["ID", "--session", "s"], ["--everything", "--session", "s"]])
def test_a_forget_that_is_not_clear_forgets_nothing(run: Run, told: dict[str, str], arguments: list[str]) -> None:
    done = run("forget", *[told["cat"] if one == "ID" else one for one in arguments], stdin="y\n")
    assert done.code == 2
    assert len(run("list", "--json").data) == 3


def test_consolidate_merges_copies_and_can_be_undone(run: Run) -> None:
    for _ in range(2):
        run("add", "The very same sentence about seven sailing boats", "--session", "s")
    done = run("consolidate", "--json")
    assert done.data["merged"] == 1
    assert "merging duplicates" in done.err
    assert len(run("list", "--json").data) == 1
    for operation in reversed(done.data["operations"]):
        assert run("undo", operation).code == 0
    assert len(run("list", "--json").data) == 2
    assert "merged" in run("consolidate").out


def test_foreign_text_is_no_markup_and_steers_no_terminal(run: Run) -> None:
    run("add", "[red]not red[/red] [/oops] \x1b[2J\x07 end", "--speaker", "[bold]eve")
    for command in (["list"], ["search", "red"], ["ask", "what is not red?"]):
        done = run(*command)
        assert done.code == 0
        assert "\x1b[2J" not in done.out
        assert "\x07" not in done.out
        assert "[bold]eve" in done.out
