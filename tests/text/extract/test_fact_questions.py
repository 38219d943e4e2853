"""Which facts a question asks for or rests on, and whose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.text.encode.fact_questions import Slot, asks_for, rests_on
from mnemos.text.encode.facts import facts


@pytest.mark.parametrize(
    ("question", "relations"),
    [
        ("Where does Ann live?", {"lives in"}),
        ("Where is Ann living now?", {"lives in"}),
        ("where is Kim Lee based these days?", {"lives in"}),
        ("Which city did Ann move to?", {"lives in"}),
        ("Where did Ann move?", {"lives in"}),
        ("Where has Ann moved to?", {"lives in"}),
        ("In which town does my sister live?", {"lives in"}),
        ("So, do you know where Ann lives?", {"lives in"}),
        ("I forgot. Where do I live?", {"lives in"}),
        ("Where does Ann work?", {"works at"}),
        ("Who does Ann work for?", {"works at"}),
        ("What company does Ann work for?", {"works at"}),
        ("Who is Ann’s employer?", {"works at"}),
        ("What does Ann do for a living?", {"works as", "job", "profession"}),
        ("What is Ann's job?", {"works as", "job", "profession"}),
        ("what's James' occupation", {"works as", "job", "profession"}),
        ("What is Ann's favourite tea?", {"favourite tea"}),
        ("What are my favorite colors?", {"favourite colour"}),
        ("What is Ann's favourite board game now?", {"favourite board game"}),
        ("Which tea does Ann like best?", {"favourite tea"}),
        ("What is Ann's phone number?", {"phone"}),
        ("What's my e-mail address?", {"email"}),
        ("When is Ann's birthday?", {"birthday"}),
        ("How old is Ann?", {"age"}),
        ("Where is Ann from originally?", set()),
        ("Where is Ann originally from?", {"comes from"}),
        ("What is the name of Ann's dog?", {"has pet"}),
        ("What is Ann's cat called?", {"has pet"}),
        ("Who is Ann married to?", {"married to"}),
        ("Who is Ann's husband?", {"husband", "married to"}),
        ("What is Ann's niece called?", {"niece"}),
        ("What is my sister's name?", {"sister"}),
        ("What is my name?", {"name"}),
        ("What is Ann allergic to?", {"allergic to"}),
        ("What is Ann's home town?", {"hometown"}),
    ],
)
def test_a_question_asks_for_relations(question: str, relations: set[str]) -> None:
    assert {slot.relation for slot in asks_for(question)} == relations


@pytest.mark.parametrize(
    "question",
    [
        "Which street does Ann live in?", "Who does Ann live with?", "How long has Ann lived in Porto?",
        "When did Ann move to Porto?", "Why did Ann move?", "Where did Ann live before Porto?",
        "Where did Ann live in 2019?", "Where does Ann want to live?", "Where did Ann move from?",
        "Where does Ann live in Porto?", "Which floor does Ann live on?", "Does Ann live in Porto?",
        "Where did Ann use to work?", "Who does Ann work with?", "When does Ann work?", "Where did Ann work?",
        "What is Ann's job like?", "What does Ann do on Fridays?", "What was Ann's favourite tea?",
        "Why is Earl Grey Ann's favourite tea?", "What is Ann's favourite thing about Porto?",
        "What is Ann's favourite part?", "What is Ann's favourite tea shop in Porto?",
        "Which tea does Ann like?", "How old is Ann's cello?", "Who is Ann's cello teacher?",
        "Who is Ann's best friend?", "What does Ann like to cook?", "When did Ann get married?",
        "Where did Ann marry Bob?",
        "When was Ann born?", "How many pets does Ann have?", "What did Ann do for her birthday?",
        "What did Ann get for her birthday?", "Where does everyone live?", "I live in Rome.", "Where?", "",
    ],
)  # fmt: skip
def test_finer_and_other_questions_ask_for_no_relation(question: str) -> None:
    assert asks_for(question) == set()


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("Ann moved to Porto.", "Where is Ann living?"),
        ("Ann got a new job at Acme Corp!", "Who does Ann work for?"),
        ("Ann works as a barista.", "What is Ann's profession?"),
        ("Ann's favorite colors are red and blue.", "What is Ann's favourite colour?"),
        ("Ann got engaged to Bob", "Who is Ann engaged to?"),
        ("My husband's name is Bob.", "What is my husband's name?"),
        ("I have a dog named Max.", "What's the name of my dog?"),
        ("My birthday is on May 7th.", "What day is my birthday?"),
    ],
)
def test_a_question_meets_the_fact_that_answers_it(statement: str, question: str) -> None:
    assert {fact.relation for fact in facts(statement, "Zoe", 1.7e9)} & {slot.relation for slot in asks_for(question)}


@pytest.mark.parametrize(
    ("question", "who"),
    [
        ("Where does Ann live?", "Ann"),
        ("where does kim live", "kim"),
        ("Where does Kim Lee live?", "Kim Lee"),
        ("Where do I live?", "I"),
        ("Where do we live?", "I"),
        ("What is my job?", "I"),
        ("What’s our address?", "I"),
        ("How old is my sister?", "I's sister"),
        ("Where does my Sister live?", "I's sister"),
        ("How old is my brother Tom?", "Tom"),
        ("How old is Ann's sister?", "Ann's sister"),
        ("What is Ann's sister's job?", "Ann's sister"),
        ("What is my sister's job?", "I's sister"),
        ("What is James' job?", "James"),
        ("Who is Ann's husband?", "Ann"),
        ("What is the name of my dog?", "I"),
        ("Where does his sister live?", "his sister"),
    ],
)
def test_a_question_says_of_whom_it_asks(question: str, who: str) -> None:
    assert {slot.who for slot in asks_for(question)} == {who}


@pytest.mark.parametrize(
    ("question", "slot"),
    [
        ("Where did Ann live before?", Slot("Ann", "lives in", True)),
        ("Where did I work previously?", Slot("I", "works at", True)),
        ("Where was Ann living, before that?", Slot("Ann", "lives in", True)),
        ("What was my previous address?", Slot("I", "address", True)),
        ("What was Ann's old phone number?", Slot("Ann", "phone", True)),
        ("What was James' former car?", Slot("James", "car", True)),
        ("What was my favourite tea before?", Slot("I", "favourite tea", True)),
        ("What is my new address?", Slot("I", "address")),
        ("Where did Ann live before Porto?", None),
        ("Have I been here before?", None),
    ],
)
def test_a_question_may_ask_for_what_was_so_before(question: str, slot: Slot | None) -> None:
    assert asks_for(question) == ({slot} if slot else set())


@pytest.mark.parametrize(
    ("question", "whose"),
    [
        ("How many years will I be when my friend Rachel gets married?", {"I"}),
        ("How old was Ann when she moved to Porto?", {"Ann"}),
        ("How old will my sister be in 2030?", {"I's sister"}),
        ("What was Ann's age at her wedding?", {"Ann"}),
        ("Is Ann older than me?", {"Ann", "I"}),
        ("Am I much younger than Kim Lee?", {"I", "Kim Lee"}),
        ("How old is Ann's dog?", set()),
        ("How old is my sister's dog?", set()),
        ("How old is the church?", set()),
        ("How many years will I be working here?", set()),
        ("How many years will it take?", set()),
        ("What is the average age?", set()),
        ("Where are my old shoes?", set()),
    ],
)
def test_a_question_about_years_rests_on_an_age(question: str, whose: set[str]) -> None:
    assert asks_for(question) == set()
    assert {slot.who for slot in rests_on(question) if slot.relation == "age"} == whose


_ASKED = [
    "what",
    "who",
    "where",
    "is",
    "does",
    "did",
    "Ann",
    "Ann's",
    "my",
    "favourite",
    "tea",
    "live",
    "job",
    "?",
    "\ud800",
]


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.sampled_from(_ASKED), max_size=8))
def test_any_question_is_answered_with_whole_relations(words: list[str]) -> None:
    for slot in rests_on(" ".join(words)):
        assert slot.who.strip()
        assert slot.relation.strip()
        assert "{" not in slot.relation


@pytest.mark.parametrize("piece", ["where does ", "How old am I ", "my ", "Ann's ", "'", "a. ", "I"])
def test_a_long_adversarial_question_is_finished(piece: str) -> None:
    rests_on((piece * 200_000)[:200_000])
