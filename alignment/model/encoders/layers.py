"""The layers of a transformer, and what stands in for them while it runs in two parts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from alignment.model.encoders.encoder_files import EncoderError


def layer_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of transformer layers: the longest ``ModuleList`` of the model, with its name."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise EncoderError(f"{type(model).__name__} keeps no list of layers: use a transformer")
    return max(lists, key=lambda item: len(item[1]))


class _StandIn(nn.Module):
    """Stands in for a layer; models may read its attributes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        # Past the registry of modules, so that the layer is not a part of its stand-in.
        self.__dict__["_layer"] = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_layer"], name)


class Recomputed(_StandIn):
    """A layer whose activations are computed again on the way back, instead of being kept."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer gives."""
        return checkpoint(self.__dict__["_layer"], *args, use_reentrant=False, **kwargs)


class Skipped(_StandIn):
    """A frozen layer whose work is already done."""

    def __init__(self, layer: nn.Module, *, returns_tuple: bool) -> None:
        super().__init__(layer)
        self._returns_tuple = returns_tuple

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor | tuple[Tensor]:
        """What it was given, in the form in which the layer would return it."""
        return (hidden,) if self._returns_tuple else hidden


def take_tokens(hidden: Tensor, read: Tensor) -> Tensor:
    """Tokens at some places: (sequences, tokens, hidden) to (sequences, read tokens, hidden)."""
    return hidden.gather(1, read[..., None].expand(-1, -1, hidden.shape[-1]))


class PrefixDone(Exception):
    """Ends a forward pass as soon as the activations wanted are there."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden
