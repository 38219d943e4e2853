from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.catalogue import get_system
from mnemos.core.errors import InvalidInput
from mnemos.state import MoM
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.delta import GatedDeltaNet
from mnemos.state.mixers.mom import MixtureOfMemories, Route, balance, by_group, mask_form
from mnemos.state.mixers.parts import ShortConv, l2norm

HOSTS = ["gated-delta", "delta", "linear", "retnet", "gla"]


def make(seed: int = 0, **settings) -> MixtureOfMemories:
    """Small, in float64, with a router that has opinions."""
    torch.manual_seed(seed)
    mixer = MixtureOfMemories(8, 2, **settings).double()
    with torch.no_grad():
        mixer.router.weight.normal_()
    return mixer


def sequence(batch: int = 2, tokens: int = 19, seed: int = 1) -> Tensor:
    return torch.randn(batch, tokens, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def token_loop(mixer: MixtureOfMemories, x: Tensor) -> Tensor:
    """One token of one sequence at a time, with a list of what each memory saw."""
    scale, outputs = (8 / 2) ** -0.5, []
    for row in x:
        memories = {m: torch.zeros(2, 4, 4, dtype=x.dtype) for m in range(len(mixer.own))}
        seen: dict[int, list[Tensor]] = {m: [torch.zeros(24, dtype=x.dtype)] * 3 for m in memories}
        for token in row:
            logits = mixer.router.weight @ token
            chosen = sorted(range(mixer.memories), key=lambda m: -logits[m].item())[: mixer.topk]
            weight = {m: (logits[m] - logits[chosen].logsumexp(0)).exp() for m in chosen}
            if mixer.shared:
                weight[mixer.memories] = torch.ones((), dtype=x.dtype)
            o = torch.zeros(2, 4, dtype=x.dtype)
            for m, share in weight.items():
                own = mixer.own[m].weight @ token
                seen[m].append(torch.cat([mixer.query.weight @ token, own[:16]]))
                mixed = F.silu((torch.stack(seen[m][-4:], 1) * mixer.conv.weight).sum(1))
                q, k, v = mixed.view(3, 2, 4)
                q, k = l2norm(q), l2norm(k)
                memories[m] = _write(mixer, memories[m], k, v, own[16:])
                o = o + share * scale * torch.einsum("hk,hkv->hv", q, memories[m])
            outputs.append(mixer.out(o[None, None], token[None, None])[0, 0])
    return torch.stack(outputs).view_as(x)


def _write(mixer: MixtureOfMemories, state: Tensor, k: Tensor, v: Tensor, raw: Tensor) -> Tensor:
    host, rule = mixer.rule.host, mixer.rule
    if host == "retnet":
        state = rule.log_decay.exp()[:, None, None] * state
    if host == "gla":
        decay = torch.sigmoid(rule.widen.weight @ raw + rule.widen.bias) ** (1 / 16)
        state = decay.view(2, 4, 1) * state
    if host == "gated-delta":
        state = torch.exp(-rule.log_rate.exp() * F.softplus(raw[2:] + rule.bias))[:, None, None] * state
    if host in ("delta", "gated-delta"):
        v = raw[:2].sigmoid()[:, None] * (v - torch.einsum("hk,hkv->hv", k, state))
    return state + torch.einsum("hk,hv->hkv", k, v)


# -- one function, three ways ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("settings", [{}, {"memories": 3, "topk": 1, "shared": False}, {"memories": 2, "topk": 2}])
def test_packed_groups_masks_and_the_token_loop_agree(host: str, settings: dict) -> None:
    mixer, x = make(host=host, **settings), sequence()
    y = mixer(x)[0]
    torch.testing.assert_close(y, mask_form(mixer, x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(y, token_loop(mixer, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("host", HOSTS)
def test_gradients_of_packed_groups_are_those_of_masks(host: str) -> None:
    mixer, x = make(host=host), sequence().requires_grad_()
    inputs = [x, *mixer.parameters()]
    ours, masks = (torch.autograd.grad(y.sin().sum(), inputs) for y in (mixer(x)[0], mask_form(mixer, x)))
    for grad, plain in zip(ours, masks, strict=True):
        torch.testing.assert_close(grad, plain, rtol=1e-9, atol=1e-9)


def test_one_memory_is_its_host_layer() -> None:
    mixer, x = make(memories=1, topk=1, shared=False), sequence()
    host = GatedDeltaNet(8, 2, expand=1).double()
    own = mixer.own[0].weight
    with torch.no_grad():
        host.inputs.linear.weight.copy_(torch.cat([mixer.query.weight, own[:16]]))
        host.inputs.conv.weight.copy_(mixer.conv.weight)
        host.beta.weight.copy_(own[16:18])
        host.decay.linear.weight.copy_(own[18:20])
        host.decay.log_rate.copy_(mixer.rule.log_rate)
        host.decay.bias.copy_(mixer.rule.bias)
        host.out.load_state_dict(mixer.out.state_dict())
    torch.testing.assert_close(mixer(x)[0], host(x)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("host", HOSTS)
def test_keeps_the_contract_of_a_mixer(host: str) -> None:
    torch.manual_seed(0)
    check_mixer(MixtureOfMemories(16, 2, host=host), constant_state=True)


@pytest.mark.parametrize(("memories", "topk", "shared", "conv"), [(5, 3, True, 4), (2, 2, False, 1), (3, 2, True, 6)])
def test_other_sizes_keep_it_too(memories: int, topk: int, shared: bool, conv: int) -> None:
    torch.manual_seed(0)
    check_mixer(
        MixtureOfMemories(8, 1, memories=memories, topk=topk, shared=shared, conv=conv), tokens=70, constant_state=True
    )


# -- what is written where ------------------------------------------------------------------------------------


def _chosen(mixer: MixtureOfMemories, x: Tensor) -> Tensor:
    """[B, T, M]"""
    chosen = mixer.route(x.flatten(0, 1)).chosen
    return F.one_hot(chosen, mixer.memories).sum(1).bool().view(*x.shape[:2], -1)


@pytest.mark.parametrize("host", HOSTS)
def test_memories_that_are_not_chosen_stay_the_same_to_the_bit(host: str) -> None:
    mixer, x = make(host=host), sequence(tokens=12)
    _, before = mixer(x[:, :11])
    _, after = mixer(x[:, 11:], before)
    changed = (after["memory"] != before["memory"]).flatten(2).any(-1)
    tails = (after["tail"] != before["tail"]).flatten(2).any(-1)
    wanted = F.pad(_chosen(mixer, x)[:, 11], (0, 1), value=True)
    assert torch.equal(changed, wanted)
    assert torch.equal(tails, wanted)


def test_with_as_many_choices_as_memories_all_are_written() -> None:
    mixer, x = make(memories=3, topk=3), sequence(tokens=1)
    _, state = mixer(x)
    assert bool(state["memory"].flatten(2).any(-1).all())


def test_a_memory_that_never_got_a_token_is_empty_and_works_when_it_gets_one() -> None:
    mixer = make(memories=4, topk=1, shared=False)
    with torch.no_grad():
        mixer.router.weight.zero_()
        mixer.router.weight[:, 0] = torch.tensor([3.0, 1.0, -1.0, -3.0])
    x = sequence(tokens=9)
    x[:, :6, 0] = x[:, :6, 0].abs() + 0.1  # memory 0 alone
    x[:, 6:, 0] = -x[:, 6:, 0].abs() - 0.1  # memory 3 alone
    _, state = mixer(x[:, :6])
    assert state["memory"][:, 0].any()
    assert not state["memory"][:, 1:].any()
    whole, _ = mixer(x)
    rest, state = mixer(x[:, 6:], state)
    torch.testing.assert_close(rest, whole[:, 6:])
    assert not state["memory"][:, 1:3].any()
    alone, _ = mixer(x[:, 6:])  # memory 3 knows nothing of what memory 0 saw
    torch.testing.assert_close(rest, alone)


def test_the_order_inside_a_memory_is_that_of_time() -> None:
    """Equal keys everywhere: the delta rule keeps the last value, so that any shuffle would show."""
    mixer = make(memories=2, topk=1, shared=False, host="delta", conv=1)
    x = sequence(batch=3, tokens=150)
    torch.testing.assert_close(mixer(x)[0], mask_form(mixer, x), rtol=1e-10, atol=1e-10)
    turned = x.flip(1)
    assert not torch.allclose(mixer(turned)[0].flip(1), mixer(x)[0])
    # and tokens of different memories may change places without any memory noticing
    first = _chosen(mixer, x)[0].int().argmax(-1)
    t = int((first[1:] != first[:-1]).nonzero()[0, 0])
    swapped = x[:1].clone()
    swapped[0, [t, t + 1]] = x[0, [t + 1, t]]
    y, other = mixer(x[:1])[0], mixer(swapped)[0]
    torch.testing.assert_close(other[0, [t + 1, t]], y[0, [t, t + 1]])
    torch.testing.assert_close(other[0, t + 2 :], y[0, t + 2 :])


@pytest.mark.parametrize("batch", [1, 3])
def test_in_training_no_token_sees_a_later_one_or_another_sequence(batch: int) -> None:
    mixer, x = make().train(), sequence(batch=batch)
    y = mixer(x)[0]
    for token in range(1, 19):
        other = x.clone()
        other[0, token:] = 5 * torch.randn_like(other[0, token:])
        again = mixer(other)[0]
        torch.testing.assert_close(again[0, :token], y[0, :token], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(again[1:], y[1:], rtol=1e-10, atol=1e-10)


def test_packed_sequences_and_their_states_are_those_of_single_runs() -> None:
    mixer, x, borders = make(), sequence(batch=1), torch.tensor([0, 1, 8, 19])
    y, state = mixer(x, cu_seqlens=borders)
    more, after = mixer(x, state, cu_seqlens=borders)
    assert after.tokens == 19
    for n, (first, last) in enumerate([(0, 1), (1, 8), (8, 19)]):
        alone, own = mixer(x[:, first:last])
        torch.testing.assert_close(y[:, first:last], alone)
        assert state[str(n)].tokens == last - first
        torch.testing.assert_close(state[str(n)]["memory"], own["memory"])
        torch.testing.assert_close(more[:, first:last], mixer(x[:, first:last], own)[0])


def test_a_packed_state_of_other_sequences_is_refused() -> None:
    mixer, x = make(), sequence(batch=1)
    _, state = mixer(x, cu_seqlens=torch.tensor([0, 8, 19]))
    with pytest.raises(InvalidInput, match="cuts 3"):
        mixer(x, state, cu_seqlens=torch.tensor([0, 1, 8, 19]))
    with pytest.raises(InvalidInput, match="belongs to"):
        mixer(x, mixer(x)[1], cu_seqlens=torch.tensor([0, 8, 19]))


# -- the convolution ------------------------------------------------------------------------------------------


def test_the_convolution_of_a_group_is_that_of_the_group_alone() -> None:
    torch.manual_seed(0)
    conv, x, tails = ShortConv(3, 4), torch.randn(9, 3), torch.randn(4, 3, 3)
    borders = torch.tensor([0, 1, 3, 4, 9])
    y, after = by_group(conv, x, tails, borders)
    for n, (first, last) in enumerate([(0, 1), (1, 3), (3, 4), (4, 9)]):
        alone, tail = conv(x[None, first:last], tails[n : n + 1])
        torch.testing.assert_close(y[first:last], alone[0])
        torch.testing.assert_close(after[n], tail[0])


def test_the_decay_of_the_retnet_host_is_its_heads_own() -> None:
    torch.testing.assert_close(make(host="retnet").rule.log_decay.exp(), 1 - 2 ** -torch.tensor([5.0, 6.0]).double())


# -- the router -----------------------------------------------------------------------------------------------


def test_weights_sum_to_one_and_are_the_largest() -> None:
    mixer, x = make(memories=5, topk=3), sequence()
    chosen, weight, probability = mixer.route(x.flatten(0, 1))
    torch.testing.assert_close(weight.sum(-1), torch.ones(38, dtype=x.dtype))
    torch.testing.assert_close(probability.gather(1, chosen), probability.sort(descending=True).values[:, :3])


def test_a_weight_that_underflows_shifts_no_group() -> None:
    mixer, x = make(topk=2), sequence()
    with torch.no_grad():
        mixer.router.weight.mul_(5000)
    _, weight, _ = mixer.route(x.flatten(0, 1))
    assert bool((weight == 0).any())
    torch.testing.assert_close(mixer(x)[0], mask_form(mixer, x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mixer(x)[0], token_loop(mixer, x), rtol=1e-9, atol=1e-9)


def test_ties_are_broken_the_same_way_whole_and_in_pieces() -> None:
    mixer, x = make(), sequence()
    with torch.no_grad():
        mixer.router.weight.zero_()
    whole, state = mixer(x)[0], None
    for t in range(19):
        y, state = mixer(x[:, t : t + 1], state)
        torch.testing.assert_close(y[:, 0], whole[:, t])


# -- the balance loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("topk", [1, 2, 3])
def test_balance_is_topk_where_all_memories_are_used_alike(topk: int) -> None:
    mixer = make(memories=4, topk=topk).train()
    with torch.no_grad():
        mixer.router.weight.zero_()
    mixer(sequence())
    assert mixer.auxiliary().item() == pytest.approx(topk)


def test_balance_is_the_number_of_memories_where_one_takes_all() -> None:
    route = Route(torch.zeros(6, 1, dtype=torch.long), torch.ones(6, 1), torch.eye(4)[[0] * 6])
    assert balance(route).item() == pytest.approx(4)


def test_balance_counts_every_choice() -> None:
    probability = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    route = Route(torch.tensor([[0, 1], [2, 1]]), torch.ones(2, 2), probability)
    # f summed over choices: 1/2, 1, 1/2; P: .4, .3, .3
    assert balance(route).item() == pytest.approx(3 * (0.5 * 0.4 + 0.3 + 0.5 * 0.3))


def test_the_loss_is_of_the_last_call_in_training_and_moves_the_router_only() -> None:
    mixer, x = make(topk=1), sequence()
    assert mixer.auxiliary() is None
    mixer.train()(x)
    first = mixer.auxiliary()
    grads = torch.autograd.grad(first, list(mixer.parameters()), allow_unused=True)
    used = [name for (name, _), grad in zip(mixer.named_parameters(), grads, strict=True) if grad is not None]
    assert used == ["router.weight"]
    mixer(2 * x)
    assert not torch.equal(mixer.auxiliary(), first)
    mixer.eval()(x)
    assert mixer.auxiliary() is None


def test_the_loss_of_packed_sequences_counts_all_of_them() -> None:
    mixer, x = make().train(), sequence(batch=1)
    mixer(x, cu_seqlens=torch.tensor([0, 5, 19]))
    packed = mixer.auxiliary()
    mixer(x)
    torch.testing.assert_close(packed, mixer.auxiliary())


def test_a_mixer_can_be_copied_after_training() -> None:
    mixer, x = make().train(), sequence()
    mixer(x)
    torch.testing.assert_close(copy.deepcopy(mixer)(x)[0], mixer(x)[0])


# -- names and bad input --------------------------------------------------------------------------------------


def test_it_is_in_the_catalogue_and_has_a_short_name() -> None:
    assert get_system("mixture_of_memories").target.endswith(":MixtureOfMemories")
    assert MoM is MixtureOfMemories


@pytest.mark.parametrize(
    "wrong", [{"host": "mamba2"}, {"topk": 0}, {"topk": 5}, {"memories": 0, "topk": 1}, {"heads": 3}]
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(InvalidInput):
        MixtureOfMemories(8, **{"heads": 2, **wrong})
