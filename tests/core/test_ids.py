from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from mnemos.core import FixedClock, IdGenerator


def test_an_id_is_26_characters_of_crockford_base_32() -> None:
    made = IdGenerator(seed=1)()
    assert len(made) == 26
    assert set(made) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.integers(0, 99))
def test_ids_sort_in_the_order_of_making_even_when_the_clock_steps_back(steps: list[float], seed: int) -> None:
    clock = FixedClock(1.7e9)
    make = IdGenerator(clock, seed)
    made = [make()]
    for step in steps:
        clock.advance(step)
        made.append(make())
    assert made == sorted(set(made))


def test_a_later_millisecond_sorts_after_any_id_of_an_earlier_one() -> None:
    early, late = IdGenerator(FixedClock(1.7e9), 1), IdGenerator(FixedClock(1.7e9 + 0.01), 2)
    assert max(early() for _ in range(1000)) < late()


def test_the_same_seed_and_clock_make_the_same_ids_and_another_seed_others() -> None:
    def run(seed: int) -> list[str]:
        make = IdGenerator(FixedClock(5.0), seed)
        return [make() for _ in range(10)]

    assert run(1) == run(1)
    assert not set(run(1)) & set(run(2))


def test_threads_that_share_a_generator_never_get_the_same_id() -> None:
    make = IdGenerator(FixedClock(1.0), 1)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make(), range(4000)))
    assert len(set(made)) == 4000
