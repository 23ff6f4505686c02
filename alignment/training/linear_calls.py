"""What goes through linear modules in a forward pass, of which rows of gradients are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LinearCall:
    """One use of a linear module within a forward pass."""

    name: str
    inputs: Tensor
    outputs: Tensor


@contextmanager
def recorded(modules: dict[str, nn.Linear]) -> Iterator[list[LinearCall]]:
    """Note what goes into modules and what comes out, while the context lasts."""
    calls: list[LinearCall] = []

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            calls.append(LinearCall(name=name, inputs=inputs[0].detach(), outputs=outputs))

        return note

    hooks = [module.register_forward_hook(hook_of(name)) for name, module in modules.items()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def products(back: Tensor, inputs: Tensor) -> Tensor:
    """``back^T inputs`` of each unit: (units, n, out) and (units, n, in) to (units, out, in)."""
    # With the wider factor on the right it is up to five times faster: a LoRA rank is narrow.
    if back.shape[-1] > inputs.shape[-1]:
        return torch.bmm(inputs.transpose(1, 2), back).transpose(1, 2)
    return torch.bmm(back.transpose(1, 2), inputs)


def linear_modules(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Linear]:
    """The modules that hold tensors, by name; each must be a plain linear one."""
    modules: dict[str, nn.Linear] = {}
    for name in names:
        owner = name.rpartition(".")[0]
        module = model.get_submodule(owner)
        # A subclass may do more than a matrix product.
        if type(module) is not nn.Linear:
            raise ValueError(
                f"{owner} is a {type(module).__name__}, its gradients by unit are unknown here: "
                "put adapters on linear modules only"
            )
        modules[owner] = module
    return modules
