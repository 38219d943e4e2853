from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from mnemos.bench.recall import text_names, text_task
from mnemos.core.errors import InvalidInput, NotFound

every_name = pytest.mark.parametrize("name", text_names())


@every_name
@pytest.mark.parametrize("tokens", [1024, 8192])
def test_prompt_and_answer_fill_the_budget_and_no_more(name: str, tokens: int) -> None:
    task = text_task(name, tokens=tokens)
    longest = 0 if task.haystack == "essay" else 130  # sentences of an essay may be long
    for prompt in task.batch(4, 0):
        used = task.count(prompt.text) + 128
        assert used <= tokens
        assert not longest or used > tokens - longest


@every_name
def test_the_solver_finds_every_answer(name: str) -> None:
    task = text_task(name)
    prompts = task.batch(8, 1, "test")
    assert task.score(task.solver(prompts), prompts) == 1.0


@pytest.mark.parametrize(
    ("name", "needles", "answers"),
    [
        ("s_niah_1", 1, 1),
        ("s_niah_2", 1, 1),
        ("s_niah_3", 1, 1),
        ("multikey_1", 4, 1),
        ("multivalue", 4, 4),
        ("multiquery", 4, 4),
        ("passkey", 1, 1),
    ],
)
def test_the_stated_number_of_needles_is_there_once_each(name: str, needles: int, answers: int) -> None:
    for prompt in text_task(name).batch(8, 2):
        assert len(re.findall(r"special magic \w+ for|pass key is", prompt.context)) == needles == len(prompt.needles)
        assert all(prompt.context.count(needle) == 1 for needle in prompt.needles)
        assert len(set(prompt.answers)) == answers
        assert all(prompt.context.count(answer) == 1 for answer in prompt.answers)
        assert not any(answer in prompt.question for answer in prompt.answers)


@pytest.mark.parametrize("name", ["multikey_2", "multikey_3"])
def test_a_haystack_of_needles_names_the_asked_key_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemos.bench.recall.needle._NOUNS", ["acorn"])  # 90 keys: the asked one would come again
    for prompt in text_task(name).batch(4, 3):
        key = prompt.question.rstrip(":").split()[-1]
        assert prompt.context.count(f" for {key} is: ") == 1
        body = prompt.context.split("\n")[1]
        assert body.count("One of the special magic") == body.count(". ") + 1 > 20


@pytest.mark.parametrize(
    ("name", "form"), [("s_niah_1", r"\d{7}"), ("s_niah_3", r"[\da-f-]{36}"), ("passkey", r"\d{5}")]
)
def test_values_have_their_form(name: str, form: str) -> None:
    assert all(re.fullmatch(form, p.answers[0]) for p in text_task(name).batch(8, 0))


def test_needles_of_essays_lie_at_distinct_depths_of_the_whole_range() -> None:
    prompts = text_task("multikey_1", tokens=8192).batch(64, 0)
    places = [sorted(p.context.index(needle) / len(p.context) for needle in p.needles) for p in prompts]
    assert min(place[0] for place in places) < 0.05
    assert max(place[-1] for place in places) > 0.95
    assert all(b > a for place in places for a, b in itertools.pairwise(place))


def test_scores_are_shares_of_answers_ignoring_case_and_an_echo_scores_too() -> None:
    task = text_task("multiquery")
    prompt = task.batch(1, 0)[0]
    assert task.score([prompt.answers[0]], [prompt]) == 0.25
    uuids = text_task("s_niah_3")
    asked = uuids.batch(1, 0)
    assert uuids.score([asked[0].answers[0].upper()], asked) == 1.0
    assert uuids.score(["I do not know"], asked) == 0.0
    assert uuids.score([asked[0].context], asked) == 1.0


def test_the_ceiling_of_a_window_is_the_share_of_needles_in_it() -> None:
    task = text_task("s_niah_1", tokens=2048)
    shares = [task.ceiling(window) for window in (64, 512, 1024, 2048)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[2] == pytest.approx(0.5, abs=0.15)
    assert shares[3] == 1
    for prompt in task.batch(4, 0):
        window = len(prompt.text) - prompt.text.index(prompt.needles[0])
        assert task.ceiling(window, [prompt]) == 1
        assert task.ceiling(window - 1, [prompt]) == 0


def test_another_tokenizer_and_background_are_used() -> None:
    task = text_task("s_niah_2", tokens=400, count=lambda text: len(text.split()), background="Alpha beta. Gamma!")
    prompt = task.batch(1, 0)[0]
    assert 400 - 128 - 3 < len(prompt.text.split()) <= 400 - 128
    assert set(prompt.context.split("\n")[1].replace(prompt.needles[0], "").split()) == {"Alpha", "beta.", "Gamma!"}


def test_the_same_seed_makes_the_same_prompts_and_splits_differ() -> None:
    task = text_task("multikey_2")
    assert task.batch(2, 4) == task.batch(2, 4)
    assert task.batch(2, 4) != task.batch(2, 5)
    assert task.batch(2, 4, "train") != task.batch(2, 4, "test")


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("s_niah_1", {"haystack": "hay"}, "haystack"),
        ("s_niah_1", {"asked": 2}, "asked"),
        ("multivalue", {"per_key": 41}, "at most 40"),
        ("s_niah_2", {"background": " "}, "background"),
        ("s_niah_1", {"depth": 50}, "no setting"),
        ("passkey", {"keys": 2}, "passkey"),
        ("s_niah_1", {"tokens": 0}, "tokens"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        text_task(name, **wrong)


def test_bad_calls_are_refused() -> None:
    with pytest.raises(InvalidInput, match="alone take"):
        text_task("multivalue", tokens=300).batch(1, 0)
    with pytest.raises(InvalidInput, match="outputs"):
        text_task("s_niah_1").score([], text_task("s_niah_1").batch(1, 0))
    with pytest.raises(NotFound, match="s_niah_1"):
        text_task("s_niah_4")
