"""The config: what it refuses, and how it comes back from JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.models import MnemosConfig


def test_a_pattern_repeats_over_the_layers() -> None:
    config = MnemosConfig(mixer="tiny, swa", num_hidden_layers=5, mixer_settings={"swa": {"window": 8}})
    assert [name for name, _ in config.layer_mixers] == ["tiny", "swa", "tiny", "swa", "tiny"]
    assert config.layer_mixers[1] == ("swa", {"window": 8})
    assert config.layer_mixers[0] == ("tiny", {})


def test_it_comes_back_from_json(tmp_path: Path) -> None:
    config = MnemosConfig(mixer="tiny,swa", mixer_settings={"swa": {"window": 8}}, hidden_ratio=2.5, eos_token_id=3)
    config.save_pretrained(tmp_path)
    again = MnemosConfig.from_pretrained(tmp_path)
    for name in ("mixer", "mixer_settings", "hidden_ratio", "eos_token_id", "layer_mixers"):
        assert getattr(again, name) == getattr(config, name)


def test_the_names_of_hugging_face_lead_to_ours() -> None:
    assert MnemosConfig(num_attention_heads=2).num_heads == 2


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"vocab_size": 0}, "vocab_size 0"),
        ({"hidden_size": 10.5}, "hidden_size 10.5"),
        ({"num_hidden_layers": True}, "num_hidden_layers True"),
        ({"num_heads": "2"}, "num_heads '2'"),
        ({"hidden_size": 30, "num_heads": 4}, "no multiple of num_heads 4"),
        ({"hidden_ratio": 0}, "hidden_ratio 0"),
        ({"norm_eps": float("nan")}, "norm_eps nan"),
        ({"initializer_range": -1.0}, "initializer_range"),
        ({"channel_mixer": "relu"}, "swiglu, gelu, none"),
        ({"mixer": 3}, "mixer 3"),
        ({"mixer_settings": {"swa": {"window": 3}}, "mixer": "tiny"}, "'swa', which is not in the pattern"),
    ],
)
def test_a_wrong_value_says_which_and_why(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        MnemosConfig(**settings)


@pytest.mark.parametrize("mixer", ["titan-mac", "tiny,", ""])
def test_an_unknown_mixer_is_refused(mixer: str) -> None:
    with pytest.raises(NotFound, match="no mixer"):
        MnemosConfig(mixer=mixer)
