"""A small training run, alone or sharded over processes: `fsdp_worker.py RANK WORLD FOLDER` is one of them."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_mixer import HOME
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from mnemos.models import MnemosConfig, MnemosForCausalLM
from mnemos.state.mixers import registry

ROWS, STEPS = 4, 3


def losses(rank: int, world: int) -> list[float]:
    """The mean loss over all ranks, step by step."""
    torch.manual_seed(0)
    config = MnemosConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_heads=2, mixer="tiny")
    model = MnemosForCausalLM(config).train()
    if world > 1:
        mesh = init_device_mesh("cpu", (world,))
        for block in model.model.layers:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    data = torch.randint(0, 40, (STEPS, ROWS, 12), generator=torch.Generator().manual_seed(1))
    share, found = ROWS // world, []
    for batch in data:
        mine = batch[rank * share : (rank + 1) * share]
        optimizer.zero_grad()
        loss = model(mine, labels=mine).loss
        loss.backward()
        optimizer.step()
        mean = loss.detach() / world
        if world > 1:
            dist.all_reduce(mean)
        found.append(float(mean))
    return found


def together(rank: int, world: int, folder: Path) -> list[float]:
    """`losses` of one of `world` processes, which meet in `folder`."""
    meet = f"file://{folder / 'meet'}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=timedelta(minutes=2))
    try:
        found = losses(rank, world)
        dist.barrier()  # neither takes the group down while the other is in it
        return found
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    registry._HOMES["tiny"] = HOME
    torch.set_num_threads(1)
    together(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    # threads of the group may outlive it, and then the interpreter's own end aborts, once in some dozen runs
    os._exit(0)
