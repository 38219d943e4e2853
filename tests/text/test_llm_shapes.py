"""Replies of a wanted shape: what is forgiven, what is sent back, what is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from llm_server import Answer, Endpoint, completion
from mnemos import LanguageModel
from mnemos.core.errors import EndpointError
from mnemos.text.llm import BadReply, Budget, BudgetSpent
from mnemos.text.llm.model import LARGEST
from mnemos.text.llm.reply import Unreadable, read

pytest.importorskip("openai", reason="the extra 'llm' is not installed")

ASK = [{"role": "system", "content": "Name it."}, {"role": "user", "content": "What is in Lisbon?"}]


class Things(BaseModel):
    names: list[str]
    sure: Annotated[float, Field(ge=0, le=1)] = 1.0


GOOD = '{"names": ["a tram", "it\'s hills"], "sure": 0.5}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Sure! It's [1] what {{you}} want:\n\n{GOOD}\n\nAnything else, e.g. {{}}?",
        '{"names": ["a tram", "it\'s hills",], "sure": 0.5,}',
        "{'names': ['a tram', 'it's hills'], 'sure': 0.5}",
        "{'names': ['a tram', 'it\\'s hills'], 'sure': 0.5}",
        '{"names": ["a tram", "it\'s hills"], "sure": "0.5"}',
        f'[{{"names": 3}}]\n{GOOD}',
        f"{{ an unclosed brace, then {GOOD}",
    ],
)
def test_a_reply_is_read_through_fences_prose_and_small_mistakes(text: str) -> None:
    assert read(text, Things) == Things(names=["a tram", "it's hills"], sure=0.5)


def test_python_constants_are_read_outside_of_strings_only() -> None:
    class Flags(BaseModel):
        on: bool
        name: str | None
        note: str

    assert read("{'on': True, 'name': None, 'note': 'None of \"it\" is True'}", Flags) == Flags(
        on=True, name=None, note='None of "it" is True'
    )


@pytest.mark.parametrize(
    "text",
    [
        "no JSON at all",
        '{"names": ["cut off',
        '{"names": "one"}',
        '{"names": [1]}',
        '{"names": [], "sure": 7}',
        '{"names": [], "sure": NaN}',
        '{"names": [], "sure": 1e999}',
        "[" * 200_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        '{"' + '\\"' * 300_000,
        "{'" + "' " * 300_000,
        "{" + ", " * 300_000,
        '{"names": ' + "9" * 50_000 + "}",
        "{" * 500_000,
    ],
)
def test_what_does_not_fit_is_unreadable_however_it_is_made(text: str) -> None:
    with pytest.raises(Unreadable) as why:
        read(text, Things)
    assert len(str(why.value)) < 2000


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("{}[]\"'\\,: \nTrueNone1a"), max_size=60))
def test_any_text_is_either_a_shape_or_unreadable(text: str) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(read(text, Things), Things)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=4), st.text(st.characters(exclude_characters="{["), max_size=20))
def test_strict_json_is_read_exactly_whatever_stands_around_it(names: list[str], prose: str) -> None:
    assert read(f"{prose}{json.dumps({'names': names})}{prose}", Things).names == names


def test_the_schema_goes_out_both_to_be_enforced_and_in_words(model: LanguageModel, endpoint: Endpoint) -> None:
    endpoint.says(GOOD)
    assert model.structured(ASK, Things, max_tokens=50).sure == 0.5
    asked = endpoint.asked[0]
    form = asked["response_format"]
    assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "Things")
    assert form["json_schema"]["schema"] == Things.model_json_schema()
    assert (asked["max_tokens"], asked["temperature"]) == (50, 0)
    assert [m["role"] for m in asked["messages"]] == ["system", "user"]
    assert asked["messages"][0]["content"].startswith("Name it.")
    assert '"names"' in asked["messages"][0]["content"]


def test_an_endpoint_that_refuses_schemas_is_asked_in_words_from_then_on(
    model: LanguageModel, endpoint: Endpoint
) -> None:
    endpoint.by = lambda asked: Answer(400, b"{}") if "response_format" in asked else GOOD
    assert model.structured(ASK, Things) == model.structured(ASK, Things)
    assert ["response_format" in asked for asked in endpoint.asked] == [True, False, False]
    assert model.budget.used.calls == 2


def test_a_request_that_is_wrong_in_itself_does_not_switch_schemas_off(
    model: LanguageModel, endpoint: Endpoint
) -> None:
    endpoint.then(Answer(400), Answer(400))
    endpoint.says(GOOD)
    with pytest.raises(EndpointError, match="400"):
        model.structured(ASK, Things)
    model.structured(ASK, Things)
    assert "response_format" in endpoint.asked[-1]


def test_a_wrong_reply_goes_back_once_with_its_mistake(model: LanguageModel, endpoint: Endpoint) -> None:
    endpoint.then('{"names": "a tram"}', GOOD)
    assert model.structured(ASK, Things).names[0] == "a tram"
    *before, reply, told = endpoint.asked[1]["messages"]
    assert before == endpoint.asked[0]["messages"]
    assert reply == {"role": "assistant", "content": '{"names": "a tram"}'}
    assert "names: Input should be a valid list" in told["content"]


def test_two_wrong_replies_are_a_bad_reply(model: LanguageModel, endpoint: Endpoint) -> None:
    endpoint.says('{"names": 3}')
    with pytest.raises(BadReply, match=r"toy: no Things in the reply: names"):
        model.structured(ASK, Things)
    assert len(endpoint.asked) == 2


def test_a_repair_that_the_budget_does_not_allow_is_not_made(endpoint: Endpoint) -> None:
    model = LanguageModel("toy", base_url=endpoint.url, budget=Budget(calls=1))
    endpoint.says("nonsense")
    with pytest.raises(BudgetSpent):
        model.structured(ASK, Things)
    model.close()
    assert len(endpoint.asked) == 1


def test_a_huge_reply_is_dropped_before_it_is_read(model: LanguageModel, endpoint: Endpoint) -> None:
    endpoint.then(Answer(200, completion(json.dumps({"names": ["x" * 10 * LARGEST]}))), GOOD)
    with pytest.raises(BadReply, match="larger than"):
        model.structured(ASK, Things)
    assert len(endpoint.asked) == 1
    assert model.structured(ASK, Things).names[0] == "a tram"


def test_the_model_sees_no_more_of_its_mistake_than_it_needs(model: LanguageModel, endpoint: Endpoint) -> None:
    endpoint.then(json.dumps({"names": [1] * 50_000}), GOOD)
    model.structured(ASK, Things)
    assert sum(len(m["content"]) for m in endpoint.asked[1]["messages"][-2:]) < 6000
