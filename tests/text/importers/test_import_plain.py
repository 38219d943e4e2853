from __future__ import annotations

import os

import pytest

from mnemos.core.errors import NotFound
from mnemos.text.importers import importers
from mnemos.text.records import Kind

NOTES = "# Garden\n\nRoses need water.\n\n```\n# no heading\n```\n\n## Tools ##\n\nA spade and a rake.\n"


def test_passages_carry_file_line_heading_and_time(read, put):
    path = put("notes.md", NOTES)
    os.utime(path, (1000, 1000))
    items, skipped = read("text", path)
    assert [(i.metadata["line"], i.metadata["heading"]) for i in items] == [(1, "Garden"), (9, "Tools")]
    assert {(i.kind, i.session, i.at, i.source, i.metadata["file"]) for i in items} == {
        (Kind.PASSAGE, "notes.md", 1000.0, "import", "notes.md")
    }
    assert skipped == []


def test_a_hash_in_plain_text_is_no_heading(read, put):
    assert "heading" not in read("text", put("notes.txt", NOTES))[0][0].metadata


def test_a_folder_is_read_in_order_without_hidden_files_and_says_what_it_left(read, put, tmp_path):
    put("d/b.txt", "second")
    put("d/a/z.MD", "first")
    put("d/.hidden.txt", "no")
    put("d/.git/c.txt", "no")
    put("d/picture.png", b"\x89PNG")
    put("d/empty.txt", " \n")
    put("d/zeros.txt", b"a\0b")
    (tmp_path / "d" / "gone.txt").symlink_to(tmp_path / "nowhere")
    items, skipped = read("text", tmp_path / "d")
    assert [(i.session, i.text) for i in items] == [("a/z.MD", "first"), ("b.txt", "second")]
    assert [s.where for s in skipped] == ["empty.txt", "gone.txt", "picture.png", "zeros.txt"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Zoë".encode(), "Zoë"),
        ("Zoë".encode("utf-8-sig"), "Zoë"),
        ("Zoë".encode("utf-16"), "Zoë"),
        ("Zoë".encode("utf-16-be").join([b"\xfe\xff", b""]), "Zoë"),
        ("in a café".encode("latin-1"), "in a café"),
    ],
)
def test_encodings(read, put, raw, text):
    path = put("a.txt", raw)
    assert importers()["text"].detects(path)
    assert read("text", path)[0][0].text == text


def test_only_a_guessed_encoding_is_noted(read, put):
    guessed, _ = read("text", put("a.txt", "in a café".encode("latin-1")))
    told, _ = read("text", put("b.txt", "in a café".encode()))
    assert guessed[0].metadata["encoding"] == "latin-1"
    assert "encoding" not in told[0].metadata


def test_a_document_that_grew_at_the_top_keeps_the_keys_of_the_rest(read, put):
    before, _ = read("text", put("a.md", NOTES))
    after, _ = read("text", put("a.md", "# New\n\nOn top.\n\n" + NOTES))
    assert [i.key for i in after][1:] == [i.key for i in before]


def test_a_passage_that_stands_twice_has_two_keys(read, put):
    items, _ = read("text", put("a.md", "# A\n\n# A\n\n# A\n"))
    assert len(items) == 3
    assert len({i.key for i in items}) == 3


def test_line_ends_do_not_change_the_items(read, put):
    unix, _ = read("text", put("a.md", NOTES))
    windows, _ = read("text", put("a.md", NOTES.replace("\n", "\r\n")))
    assert [(i.key, i.text, i.metadata) for i in unix] == [(i.key, i.text, i.metadata) for i in windows]


def test_a_file_too_large_is_skipped(read, put, monkeypatch):
    monkeypatch.setattr("mnemos.text.importers.plain._LARGEST", 10)
    items, skipped = read("text", put("a.txt", "more than ten bytes"))
    assert items == []
    assert "split it" in skipped[0].why


def test_a_missing_path_is_not_found(read, tmp_path):
    with pytest.raises(NotFound):
        read("text", tmp_path / "none")
