"""What a model costs and who waits for it: retries, budgets, the cache, replay, concurrency."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llm_server import Answer, Endpoint, completion
from mnemos import LanguageModel
from mnemos.core.errors import EndpointError, InvalidInput, NotFound
from mnemos.text.llm import BadReply, Budget, BudgetSpent, Usage
from mnemos.text.llm.model import LARGEST

pytest.importorskip("openai", reason="the extra 'llm' is not installed")

_KEY = "sk-canary-0123456789"


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


class Patient(LanguageModel):
    """A model that notes its waits and does not wait."""

    def __init__(self, endpoint: Endpoint, **options: Any) -> None:
        self.waits: list[float] = []
        super().__init__("toy", base_url=endpoint.url, api_key=_KEY, timeout=5, sleep=self.waits.append, **options)


@pytest.fixture
def open_models() -> Iterator[list[LanguageModel]]:
    models: list[LanguageModel] = []
    yield models
    for model in models:
        model.close()


@pytest.fixture
def patient(endpoint: Endpoint, open_models: list[LanguageModel]) -> Any:
    def make(**options: Any) -> Patient:
        made = Patient(endpoint, **options)
        open_models.append(made)
        return made

    return make


# -- retries


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_a_passing_failure_is_tried_again_after_longer_waits(patient: Any, endpoint: Endpoint, status: int) -> None:
    endpoint.then(Answer(status), Answer(status), "hello")
    model = patient()
    assert model.chat(said("hi")).text == "hello"
    assert model.waits == [0.5, 1.0]
    assert model.budget.used.calls == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_lasting_failure_is_not_tried_again(patient: Any, endpoint: Endpoint, status: int) -> None:
    endpoint.status = status
    model = patient()
    with pytest.raises(EndpointError, match=str(status)):
        model.chat(said("hi"))
    assert (len(endpoint.asked), model.waits) == (1, [])


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, 0.5),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 9.0),
    ],
)
def test_the_endpoint_is_given_the_time_it_asks_for(
    patient: Any, endpoint: Endpoint, headers: dict[str, str], wait: float
) -> None:
    endpoint.then(Answer(429, headers=headers), "hello")
    model = patient()
    model.chat(said("hi"))
    assert model.waits == [wait]


@pytest.mark.parametrize("wait", ["3600", "inf"])
def test_who_asks_for_too_long_a_wait_is_not_waited_for(patient: Any, endpoint: Endpoint, wait: str) -> None:
    endpoint.then(Answer(429, headers={"Retry-After": wait}), "hello")
    model = patient()
    with pytest.raises(EndpointError, match="429"):
        model.chat(said("hi"))
    assert model.waits == []


@pytest.mark.parametrize(("told", "attempts"), [("false", 1), ("true", 2)])
def test_the_endpoint_may_say_whether_to_try_again(patient: Any, endpoint: Endpoint, told: str, attempts: int) -> None:
    status = 500 if told == "false" else 400
    endpoint.then(Answer(status, headers={"x-should-retry": told}), Answer(404))
    with pytest.raises(EndpointError):
        patient().chat(said("hi"))
    assert len(endpoint.asked) == attempts


def test_retries_end(patient: Any, endpoint: Endpoint) -> None:
    endpoint.status = 503
    with pytest.raises(EndpointError, match="503"):
        patient(retries=2).chat(said("hi"))
    assert len(endpoint.asked) == 3


def test_a_silent_endpoint_is_given_up(patient: Any, endpoint: Endpoint) -> None:
    held = threading.Event()
    endpoint.by = lambda asked: (held.wait(5), "late")[1]
    model = patient(retries=1)
    model._timeout = 0.1
    try:
        with pytest.raises(EndpointError, match="APITimeoutError"):
            model.chat(said("hi"))
    finally:
        held.set()
    assert len(endpoint.asked) == 2


def test_an_answer_that_trickles_is_given_up(patient: Any, endpoint: Endpoint) -> None:
    given_up = threading.Event()
    endpoint.then(Answer(200, completion("x" * 200), until=given_up))
    model = patient(retries=0)
    model._timeout = 0.15
    try:
        with pytest.raises(EndpointError, match="longer than"):
            model.chat(said("hi"))
    finally:
        given_up.set()


def test_a_connection_cut_in_the_middle_is_tried_again(patient: Any, endpoint: Endpoint) -> None:
    endpoint.then(Answer(200, completion("hello"), cut=20), "hello")
    model = patient()
    assert model.chat(said("hi")).text == "hello"
    assert len(model.waits) == 1


def test_a_small_packed_answer_that_unpacks_to_a_huge_one_is_dropped(patient: Any, endpoint: Endpoint) -> None:
    packed = gzip.compress(completion("x" * (3 * LARGEST)))
    endpoint.then(Answer(200, packed, {"Content-Encoding": "gzip"}))
    with pytest.raises(BadReply, match="larger than"):
        patient().chat(said("hi"))


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(patient: Any, endpoint: Endpoint) -> None:
    endpoint.says("ok")
    patient().chat(said("a\ud800b"))
    assert endpoint.asked[0]["messages"][0]["content"] == "a?b"


# -- budgets


def test_calls_beyond_the_budget_are_not_made(patient: Any, endpoint: Endpoint) -> None:
    endpoint.says("hello", tokens=10)
    model = patient(budget=Budget(calls=2))
    model.chat(said("a"))
    model.chat(said("b"))
    with pytest.raises(BudgetSpent, match="2 calls"):
        model.chat(said("c"))
    assert len(endpoint.asked) == 2
    assert model.budget.used == Usage(2, 20)


def test_a_call_that_could_pass_the_token_budget_is_not_made(patient: Any, endpoint: Endpoint) -> None:
    endpoint.says("hello", tokens=60)
    model = patient(budget=Budget(tokens=120))
    model.chat(said("a"), max_tokens=50)
    with pytest.raises(BudgetSpent, match="60 of 120 tokens"):
        model.chat(said("b"), max_tokens=100)
    model.chat(said("b"), max_tokens=50)
    assert model.budget.used == Usage(2, 120)


def test_tokens_are_estimated_where_the_endpoint_does_not_count(patient: Any, endpoint: Endpoint) -> None:
    endpoint.says("y" * 400, tokens=None)
    model = patient()
    assert model.chat(said("x" * 400)).tokens == 0
    assert 190 < model.budget.used.tokens < 210


def test_a_failed_call_is_counted_and_gives_its_reservation_back(patient: Any, endpoint: Endpoint) -> None:
    endpoint.status = 404
    model = patient(budget=Budget(tokens=1000))
    for _ in range(3):
        with pytest.raises(EndpointError, match="404"):
            model.chat(said("a"), max_tokens=900)
    assert model.budget.used == Usage(3, 3)


def test_a_budget_holds_for_all_threads_and_models_that_share_it(patient: Any, endpoint: Endpoint) -> None:
    endpoint.says("hello", tokens=1)
    budget = Budget(calls=10)
    models = [patient(budget=budget), patient(budget=budget)]
    results = [
        result
        for model in models
        for result in model.map([lambda n=n, m=model: m.chat(said(str(n))) for n in range(8)])
    ]
    assert len(endpoint.asked) == 10
    assert sum(isinstance(result, BudgetSpent) for result in results) == 6


def test_one_task_has_its_own_budget_inside_the_models(patient: Any, endpoint: Endpoint) -> None:
    endpoint.says("hello", tokens=10)
    model = patient(budget=Budget(calls=3))
    task = model.within(Budget(calls=2))
    task.chat(said("a"))
    task.chat(said("b"))
    with pytest.raises(BudgetSpent, match="2 calls"):
        task.chat(said("c"))
    assert (task.budget.used, model.budget.used) == (Usage(2, 20), Usage(2, 20))
    later = model.within(Budget(calls=2))
    later.chat(said("c"))
    with pytest.raises(BudgetSpent, match="3 calls"):
        later.chat(said("d"))
    assert (later.budget.used.calls, model.budget.used.calls) == (1, 3)


def test_what_one_task_learns_about_the_endpoint_the_next_one_knows(patient: Any, endpoint: Endpoint) -> None:
    endpoint.by = lambda asked: Answer(400) if "response_format" in asked else '{"word": "x"}'
    model = patient()
    for _ in range(2):
        model.within(Budget()).structured(said("a"), Word)
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize("limit", [{"calls": -1}, {"tokens": -5}])
def test_a_negative_budget_is_refused(limit: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=r"-\d"):
        Budget(**limit)


# -- cache and replay


class Word(BaseModel):
    word: str


def test_a_kept_reply_is_not_asked_for_again(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.then("one", "two")
    first, second = patient(cache=tmp_path), patient(cache=tmp_path)
    assert first.chat(said("a")) == second.chat(said("a"))
    assert second.budget.used == Usage(0, 0)
    assert second.chat(said("b")).text == "two"


def test_the_question_is_everything_that_can_change_the_reply(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.says('{"word": "x"}')
    model = patient(cache=tmp_path)
    model.chat(said("a"))
    model.chat(said("a"), temperature=0.7)
    model.chat(said("a"), max_tokens=9)
    model.chat([{"role": "system", "content": "a"}])
    model.structured(said("a"), Word)
    other = patient(cache=tmp_path)
    other.model = "other"
    other.chat(said("a"))
    assert len(endpoint.asked) == 6


def test_nothing_is_kept_without_a_cache(patient: Any, endpoint: Endpoint) -> None:
    endpoint.then("one", "two")
    model = patient()
    assert [model.chat(said("a")).text for _ in range(2)] == ["one", "two"]


def test_only_a_reply_that_fits_is_kept(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    model = patient(cache=tmp_path)
    endpoint.then("nonsense", "nonsense", "nonsense", '{"word": "x"}')
    with pytest.raises(BadReply):
        model.structured(said("a"), Word)
    assert model.structured(said("a"), Word).word == "x"
    assert model.structured(said("a"), Word).word == "x"
    assert len(endpoint.asked) == 4


def test_neither_key_nor_question_is_on_disk(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.says("hello")
    patient(cache=tmp_path).chat(said("a private question"))
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"hello" in kept
    assert _KEY.encode() not in kept
    assert b"private" not in kept


def test_a_damaged_file_is_asked_for_again_and_mended(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.says("hello")
    model = patient(cache=tmp_path)
    model.chat(said("a"))
    (file,) = tmp_path.rglob("*.json")
    for damage in (b"", b"{", b'{"text": 3, "tokens": 1}', b"[]", b"\xff\xfe"):
        file.write_bytes(damage)
        assert model.chat(said("a")).text == "hello"
    assert len(endpoint.asked) == 6
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]


def test_many_writers_of_one_reply_leave_one_whole_file(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.says("hello " * 1000)
    models = [patient(cache=tmp_path) for _ in range(2)]
    calls = [lambda m=m: m.chat(said("a")).text for m in models * 8]
    assert set(models[0].map(calls)) == {"hello " * 1000}
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert patient(cache=tmp_path, replay=True).chat(said("a")).text.startswith("hello")
    assert file.suffix == ".json"


def test_a_cache_that_cannot_be_written_says_so(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.says("hello")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="choose another cache"):
        patient(cache=tmp_path / "file").chat(said("a"))


def test_replay_answers_from_the_recording_alone(patient: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.then("one", '{"word": "x"}')
    recording = patient(cache=tmp_path)
    recording.chat(said("a"))
    recording.structured(said("a"), Word)
    replaying = LanguageModel("toy", cache=tmp_path, replay=True)
    assert replaying.chat(said("a")).text == "one"
    assert replaying.structured(said("a"), Word).word == "x"
    with pytest.raises(NotFound, match="no recorded reply to 'never asked'"):
        replaying.chat(said("never asked"))
    assert len(endpoint.asked) == 2


def test_replay_needs_a_recording() -> None:
    with pytest.raises(InvalidInput, match="cache"):
        LanguageModel("toy", replay=True)


# -- concurrency


def test_map_keeps_order_and_puts_errors_where_they_happened(patient: Any, endpoint: Endpoint) -> None:
    endpoint.by = lambda asked: (
        Answer(404) if asked["messages"][0]["content"] == "2" else asked["messages"][0]["content"]
    )
    model = patient(concurrency=3)
    results = model.map([lambda n=n: model.chat(said(str(n))).text for n in range(5)])
    assert isinstance(results[2], EndpointError)
    assert [r for n, r in enumerate(results) if n != 2] == ["0", "1", "3", "4"]


def test_map_raises_what_is_nobodys_reply(patient: Any) -> None:
    def fails() -> str:
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        patient().map([fails, fails])
    assert patient().map([]) == []


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_under_way_than_allowed(patient: Any, endpoint: Endpoint, concurrency: int) -> None:
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(concurrency)

    def answer(asked: dict[str, Any]) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(5)  # all that may be under way are, before any is answered
        with lock:
            now -= 1
        return "hello"

    endpoint.by = answer
    model = patient(concurrency=concurrency)
    nested = [lambda n=n: model.map([lambda m=m: model.chat(said(f"{n} {m}")) for m in range(3)]) for n in range(2)]
    assert all(len(inner) == 3 for inner in model.map(nested))
    assert most == concurrency


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"concurrency": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="at least"):
        LanguageModel("toy", **wrong)
