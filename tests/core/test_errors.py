from __future__ import annotations

import subprocess
import sys

import pytest

from mnemos.core import errors


def test_every_error_is_a_mnemos_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 12
    assert all(issubclass(kind, errors.MnemosError) for kind in kinds)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(errors.InvalidInput, ValueError), (errors.NotFound, KeyError), (errors.MissingExtra, ImportError)],
)
def test_errors_are_also_what_python_calls_them(kind: type, builtin: type) -> None:
    assert issubclass(kind, builtin)


def test_a_missing_key_shows_its_message_not_the_repr_of_it() -> None:
    assert str(errors.NotFound("no memory 'x'")) == "no memory 'x'"
    assert str(errors.NotFound()) == ""


def test_a_missing_extra_tells_what_to_type() -> None:
    error = errors.MissingExtra("a language model", "llm")
    assert "pip install 'mnemos[llm]'" in str(error)
    assert error.extra == "llm"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "apsw", "openai", "onnxruntime")
    program = f"import sys, mnemos; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_name_of_the_package_answers_with_the_right_ones() -> None:
    import mnemos

    with pytest.raises(AttributeError, match="Memory"):
        _ = mnemos.Memoria
    assert all(getattr(mnemos, name) is not None for name in mnemos.__all__)
