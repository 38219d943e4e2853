"""Where a model runs."""

from __future__ import annotations

import torch

from mnemos.core.errors import InvalidInput


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        InvalidInput: it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as why:
        raise InvalidInput(f"device {name!r} cannot be used here: {str(why).splitlines()[0]}") from None


__all__ = ["pick_device"]
