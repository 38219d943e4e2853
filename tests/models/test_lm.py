"""The language model: what it computes, what it carries, and how it behaves among Hugging Face's tools."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fsdp_worker import losses, together
from tiny_mixer import Build
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.models import MnemosCache, MnemosConfig, MnemosForCausalLM, load, stream
from mnemos.models.loss import chunked_cross_entropy
from mnemos.state.mixers.registry import mixer_names

IDS = torch.randint(1, 40, (2, 9), generator=torch.Generator().manual_seed(3))


# -- the loss ------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_the_chunked_loss_has_the_value_and_gradients_of_the_plain_one(chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(10, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(12, (10,))
    targets[3] = -100
    plain = F.cross_entropy(hidden @ weight.mT, targets, reduction="sum")
    ours = chunked_cross_entropy(hidden, weight, targets, chunk)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=0)
    for one, other in zip(
        torch.autograd.grad(3 * ours, (hidden, weight)), torch.autograd.grad(3 * plain, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


def test_the_loss_never_holds_the_logits_of_all_tokens(build: Build) -> None:
    class Largest(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.found = max(self.found, out.numel())
            return out

    hidden, weight = torch.randn(64, 4, requires_grad=True), torch.randn(50, 4, requires_grad=True)
    with Largest() as mode:
        chunked_cross_entropy(hidden, weight, torch.zeros(64, dtype=torch.long), chunk=8).backward()
    assert mode.found <= 8 * 50
    assert build()(IDS, labels=IDS).logits is None


def test_the_loss_is_the_mean_over_predicted_tokens(build: Build) -> None:
    model = build().eval()
    labels = IDS.clone()
    labels[0, :4] = -100
    out = model(IDS, labels=labels, output_logits=True)
    plain = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(out.loss, plain)
    assert out.loss.dtype == torch.float32
    counted = int((labels[:, 1:] != -100).sum())
    torch.testing.assert_close(model(IDS, labels=labels, num_items_in_batch=2 * counted).loss, plain / 2)


def test_a_batch_without_targets_has_loss_zero(build: Build) -> None:
    assert build().eval()(IDS, labels=torch.full_like(IDS, -100)).loss.item() == 0


def test_what_mixers_ask_for_is_added_in_training_only(build: Build) -> None:
    model = build()
    trained = model.train()(IDS, labels=IDS)
    watched = model.eval()(IDS, labels=IDS)
    assert trained.auxiliary_loss.item() > 0
    torch.testing.assert_close(trained.loss, watched.loss + trained.auxiliary_loss)
    assert watched.auxiliary_loss is None
    halves = [model.train()(row[None], labels=row[None], num_items_in_batch=16) for row in IDS]
    plain = sum(half.loss.item() - half.auxiliary_loss.item() / 2 for half in halves)
    assert plain == pytest.approx(watched.loss.item(), rel=1e-5)


# -- the states ----------------------------------------------------------------------------


def test_whole_pieces_and_single_tokens_give_the_same_logits(build: Build) -> None:
    model = build().double().eval()
    whole = model(IDS).logits
    for sizes in ([1] * 9, [4, 5], [8, 1]):
        cache, parts = MnemosCache(), []
        for piece in IDS.split(sizes, dim=1):
            parts.append(model(piece, cache=cache).logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-12)
        assert cache.get_seq_length() == 9


@pytest.mark.parametrize("side", ["left", "right", "middle"])
def test_a_padded_row_gives_what_it_gives_alone(build: Build, side: str) -> None:
    model = build().double().eval()
    place = {"left": slice(0, 3), "right": slice(6, 9), "middle": slice(4, 6)}[side]
    mask = torch.ones_like(IDS)
    mask[0, place] = 0
    live = mask[0].bool()
    out = model(IDS, attention_mask=mask)
    alone = model(IDS[:1, live])
    torch.testing.assert_close(out.logits[0, live], alone.logits[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(out.logits[1], model(IDS[1:]).logits[0], rtol=1e-10, atol=1e-12)
    step = model(torch.tensor([[5], [6]]), cache=out.cache).logits
    torch.testing.assert_close(step[:1], model(torch.tensor([[5]]), cache=alone.cache).logits, rtol=1e-10, atol=1e-12)


def test_padding_may_begin_in_the_middle_of_a_conversation(build: Build) -> None:
    model = build().double().eval()
    cache = model(IDS).cache
    mask = torch.ones(2, 13, dtype=torch.long)
    mask[0, 9:11] = 0
    out = model(IDS[:, :4], cache=cache, attention_mask=mask)
    alone = model(torch.cat([IDS[:1], IDS[:1, 2:4]], 1)).logits
    torch.testing.assert_close(out.logits[0, 2:], alone[0, 9:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_generation_with_left_padding_is_that_of_each_row_alone(build: Build, settings: dict[str, int]) -> None:
    model = build(pad_token_id=0).double().eval()
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    both = model.generate(IDS, attention_mask=mask, max_new_tokens=6, do_sample=False, **settings)
    one = model.generate(IDS[:1, 4:], max_new_tokens=6, do_sample=False, **settings)
    two = model.generate(IDS[1:], max_new_tokens=6, do_sample=False, **settings)
    assert both[: len(one), 4:].tolist() == one.tolist()
    assert both[len(one) :].tolist() == two.tolist()


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}])
def test_generation_with_states_is_generation_without(build: Build, settings: dict[str, int]) -> None:
    model = build().double().eval()
    with_states = model.generate(IDS, max_new_tokens=8, do_sample=False, **settings)
    without = model.generate(IDS, max_new_tokens=8, do_sample=False, use_cache=False, **settings)
    assert with_states.tolist() == without.tolist()


def test_a_conversation_goes_on_from_its_cache(build: Build) -> None:
    model = build().double().eval()
    first = model.generate(IDS[:1], max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
    longer = torch.cat([first.sequences, IDS[1:, :5]], 1)
    seen = first.cache.get_seq_length()
    assert seen == 12  # the last token was given out and not yet read
    on = model.generate(longer, max_new_tokens=4, do_sample=False, cache=first.cache)
    assert on.tolist() == model.generate(longer, max_new_tokens=4, do_sample=False).tolist()
    assert first.cache.get_seq_length() == longer.shape[1] + 3


def test_prefill_in_chunks_changes_nothing(build: Build) -> None:
    model = build().double().eval()
    chunked = model.generate(IDS, max_new_tokens=4, do_sample=False, prefill_chunk_size=4)
    assert chunked.tolist() == model.generate(IDS, max_new_tokens=4, do_sample=False).tolist()


def test_two_continuations_of_a_copied_cache_do_not_disturb_each_other(build: Build) -> None:
    model = build().double().eval()
    cache = model(IDS).cache
    twin = cache.copy()
    a = model(IDS[:, :1], cache=cache).logits
    torch.testing.assert_close(model(IDS[:, :1], cache=twin).logits, a, rtol=0, atol=0)


def test_rows_of_a_cache_can_be_repeated_and_picked(build: Build) -> None:
    model = build().double().eval()
    mask = torch.ones_like(IDS)
    mask[0, :2] = 0
    for settings in ({}, {"attention_mask": mask}):
        cache = model(IDS, **settings).cache
        step = model(torch.tensor([[4], [4]]), cache=cache.copy()).logits
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([3, 0, 1]))
        picked = model(torch.tensor([[4]] * 3), cache=cache).logits
        torch.testing.assert_close(picked, step[[1, 0, 0]], rtol=1e-10, atol=1e-12)


def test_the_states_of_a_recurrent_model_do_not_grow(build: Build) -> None:
    model = build().eval()
    cache = model(IDS[:, :1]).cache
    before = cache.nbytes()
    model(IDS.repeat(1, 20), cache=cache)
    assert cache.nbytes() == before > 0


def test_a_stream_is_greedy_generation_and_repeats_with_its_seed(build: Build) -> None:
    model = build()
    prompt = IDS[0].tolist()
    greedy = model.eval().generate(IDS[:1], max_new_tokens=6, do_sample=False)[0, 9:].tolist()
    assert list(stream(model.train(), prompt, 6, temperature=0)) == greedy
    assert model.training
    assert list(stream(model, prompt, 6, top_k=1)) == greedy
    assert list(stream(model, prompt, 6, top_p=1e-6)) == greedy
    state = torch.get_rng_state()
    sampled = list(stream(model, prompt, 30, seed=1))
    assert torch.equal(state, torch.get_rng_state())
    assert sampled == list(stream(model, prompt, 30, seed=1)) != list(stream(model, prompt, 30, seed=2))
    cut = sampled.index(sampled[9])
    assert list(stream(model, prompt, 30, seed=1, stop=[sampled[9]])) == sampled[:cut]


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [([], {}), ([1], {"temperature": -1}), ([1], {"top_p": 0}), ([1], {"top_k": -1}), ([1], {"max_new_tokens": 0})],
)
def test_a_stream_refuses_what_it_cannot_do(build: Build, prompt: list[int], settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        stream(build(), prompt, **settings)


def test_generate_hands_out_scores_and_hidden_states(build: Build) -> None:
    model = build().eval()
    told = model.generate(
        IDS, max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_logits=True,
        output_hidden_states=True,
    )  # fmt: skip
    again = model(told.sequences[:, :-1], output_hidden_states=True)
    torch.testing.assert_close(torch.stack(told.logits, 1), again.logits[:, -3:])
    torch.testing.assert_close(told.hidden_states[2][1], again.hidden_states[1][:, -1:])
    assert len(again.hidden_states) == 3


# -- saving and loading --------------------------------------------------------------------


def test_a_saved_model_comes_back_whole(build: Build, tmp_path: Path) -> None:
    model = build(channel_mixer="gelu").eval()
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    assert isinstance(AutoConfig.from_pretrained(tmp_path), MnemosConfig)
    for again in (AutoModelForCausalLM.from_pretrained(tmp_path), load(tmp_path)):
        assert isinstance(again, MnemosForCausalLM)
        assert torch.equal(again.eval()(IDS).logits, model(IDS).logits)
        assert again.lm_head.weight is again.model.embed_tokens.weight


def test_constants_outside_the_checkpoint_survive_loading(build: Build, tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    assert load(tmp_path).model.layers[0].mixer.ones.tolist() == [1.0]


def test_an_untied_head_is_a_matrix_of_its_own(build: Build, tmp_path: Path) -> None:
    model = build(tie_word_embeddings=False)
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    assert 0.015 < model.lm_head.weight.std().item() < 0.025
    model.save_pretrained(tmp_path)
    assert torch.equal(load(tmp_path).lm_head.weight, model.lm_head.weight)


def test_damaged_and_foreign_checkpoints_are_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model"):
        load(tmp_path / "absent")
    build().save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, shape = weights.read_bytes(), json.loads(config.read_text())

    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="damaged"):
        load(tmp_path)
    weights.write_bytes(b"")
    with pytest.raises(InvalidInput, match="damaged"):
        load(tmp_path)
    weights.write_bytes(whole)
    for change in ({"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"hidden_size": 32}, {"vocab_size": 41}):
        config.write_text(json.dumps({**shape, **change}))
        with pytest.raises(InvalidInput, match="another config"):
            load(tmp_path)
    config.write_text(json.dumps({**shape, "model_type": "llama"}))
    with pytest.raises(InvalidInput, match="llama"):
        load(tmp_path)
    config.write_text("{")
    with pytest.raises(InvalidInput, match="damaged"):
        load(tmp_path)
    config.write_text(json.dumps(shape))
    weights.unlink()
    with pytest.raises(NotFound, match="no weights"):
        load(tmp_path)


# -- training ------------------------------------------------------------------------------


def test_the_start_is_small_where_it_adds_to_the_residual(build: Build) -> None:
    deep, shallow = build(num_hidden_layers=8), build(num_hidden_layers=2)
    for part in ("mixer.out", "mlp.down"):
        one, other = (m.model.layers[0].get_submodule(part).weight.std().item() for m in (deep, shallow))
        assert one / other == pytest.approx(0.5, rel=0.15)
    assert deep.model.embed_tokens.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("name", mixer_names())
def test_what_a_mixer_adds_to_the_residual_starts_smaller_in_a_deeper_model(build: Build, name: str) -> None:
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    deep, shallow = (build(mixer=name, num_hidden_layers=layers).model.layers[0].mixer for layers in (8, 2))
    if name == "titans-mal":  # its attention reads the sum of x and the memory's output, which is smaller too
        shallow.memory.output.linear.weight.data /= 2
        assert torch.equal(deep.memory.output.linear.weight, shallow.memory.output.linear.weight)
        shallow.attention.out.weight.data /= 2
        torch.testing.assert_close(deep(x)[0], shallow(x)[0], rtol=1e-4, atol=1e-6)
    else:
        torch.testing.assert_close(deep(x)[0], shallow(x)[0] / 2, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing_changes_no_gradient(build: Build) -> None:
    plain, saving = build().train(), build().train()
    saving.activation_checkpointing_enable()
    for model in (plain, saving):
        model(IDS, labels=IDS).loss.backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_gradients_flow_through_states_until_they_are_cut(build: Build) -> None:
    model = build().train()
    cache = MnemosCache()
    embeds = model.model.embed_tokens(IDS).detach().requires_grad_()
    model(inputs_embeds=embeds, cache=cache)
    model(IDS, cache=cache, labels=IDS).loss.backward()
    assert embeds.grad is not None
    assert float(embeds.grad.abs().sum()) > 0


def test_trainer_trains_and_evaluates(build: Build, tmp_path: Path) -> None:
    rows = [{"input_ids": row, "labels": row} for row in IDS.repeat(4, 1)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, gradient_accumulation_steps=2,
        learning_rate=1e-2, use_cpu=True, report_to=[], disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    model = build()
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    trainer.save_model(str(tmp_path / "saved"))
    assert torch.equal(load(tmp_path / "saved").eval()(IDS).logits, model.eval()(IDS).logits)


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning")  # states are views, and never changed in place
def test_two_sharded_processes_train_as_one(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("fsdp_worker.py")
    command = [sys.executable, str(worker), "1", "2", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as other:
        both = together(0, 2, tmp_path)
        said = other.communicate(timeout=60)[1]
    assert other.returncode == 0, said
    assert both == pytest.approx(losses(0, 1), rel=1e-5)


@pytest.mark.parametrize("name", mixer_names())
def test_every_mixer_trains_carries_its_state_and_comes_back(build: Build, tmp_path: Path, name: str) -> None:
    model = build(mixer=name).train()
    model(IDS, labels=IDS).loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    model.eval()
    whole, cache = model(IDS).logits, MnemosCache()
    parts = [model(piece, cache=cache).logits for piece in IDS.split([4, 1, 4], dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert torch.equal(load(tmp_path)(IDS).logits, whole)


# -- what cannot be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"input_ids": IDS + 39}, "vocabulary"),
        ({"input_ids": IDS - 40}, "vocabulary"),
        ({"input_ids": IDS.float()}, "integers"),
        ({"input_ids": IDS[0]}, r"\[B, T\]"),
        ({"input_ids": IDS[:, :0]}, "empty"),
        ({}, "input_ids"),
        ({"input_ids": IDS, "inputs_embeds": torch.zeros(2, 9, 16)}, "both"),
        ({"input_ids": IDS, "labels": IDS[:, 1:]}, "labels"),
        ({"input_ids": IDS, "attention_mask": torch.ones(2, 5)}, "attention_mask"),
        ({"input_ids": IDS, "attention_mask": torch.zeros(2, 9)}, "padding alone"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(build: Build, call: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        build().eval()(**call)


def test_a_foreign_cache_is_refused(build: Build) -> None:
    model = build().eval()
    cache = model(IDS).cache
    with pytest.raises(InvalidInput, match="holds 2 sequences and x has 1"):
        model(IDS[:1], cache=cache)
    with pytest.raises(InvalidInput, match="2 layers and the model has 3"):
        build(num_hidden_layers=3).eval()(IDS, cache=cache)
    with pytest.raises(InvalidInput, match="belongs to"):
        build(hidden_size=32).eval()(IDS, cache=cache)


def test_generation_that_states_cannot_do_is_refused(build: Build) -> None:
    model = build().eval()
    with pytest.raises(InvalidInput, match="cache_implementation"):
        model.generate(IDS, cache_implementation="static", max_new_tokens=2)
    with pytest.raises(InvalidInput, match="rolled back"):
        model(IDS).cache.crop(-1)
    with pytest.raises(ValueError, match="stateful"):
        model.generate(IDS[:1], assistant_model=build().eval(), max_new_tokens=2)
