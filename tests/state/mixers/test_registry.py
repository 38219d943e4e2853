"""Mixers by name."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from importlib.util import find_spec

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.state.mixers.base import Mixer
from mnemos.state.mixers.registry import make_mixer, mixer_names


@pytest.mark.parametrize("name", mixer_names())
def test_every_name_makes_a_mixer(name: str) -> None:
    mixer = make_mixer(name, 16, 2)
    assert isinstance(mixer, Mixer)
    assert mixer.dim == 16
    assert "heads=2" in mixer.signature


def test_settings_reach_the_mixer() -> None:
    assert "window=5" in make_mixer("swa", 16, 2, window=5).signature


def test_a_name_may_stand_for_settings() -> None:
    plain, learned = make_mixer("lla", 16, 2).signature, make_mixer("parallax", 16, 2).signature
    assert plain != learned
    assert "learned" in learned


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(NotFound, match="titans-mac"):
        make_mixer("titans-mca", 16, 2)


def test_a_wrong_setting_is_told_the_right_ones() -> None:
    with pytest.raises(InvalidInput, match=r"no setting 'windows': it knows window"):
        make_mixer("swa", 16, 2, windows=5)


def test_looking_at_the_names_imports_no_mixer() -> None:
    assert find_spec("mnemos.state.mixers.registry") is not None
    assert len(mixer_names()) == len(set(mixer_names())) >= 20
