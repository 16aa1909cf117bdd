"""fp8: linear layers of a transformer's blocks in 8 bits, by torchao; exact requests use the original weights.

Where the GPU multiplies fp8 (compute capability 8.9 or later), activations are quantized too, per token, and a
forward is faster; elsewhere only weights are, which saves memory and nothing else. The originals stay in host memory,
and an exact request copies them to the device layer by layer: slow, but it needs no room there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_MULTIPLE: Final = 16
"""Number of which both sides of a weight must be multiples for fp8 matrix products."""
_KEPT: Final = ("mod", "adaln")
"""Parts of the names of layers that stay as they are: modulation is small, and errors in it reach every token."""
_MIN_CAPABILITY: Final = (8, 9)


class Float8Weights:
    """The quantized layers of one transformer."""

    def __init__(self) -> None:
        """Create the state that the layers share."""
        self.is_exact = False
        """Whether forwards use the original weights."""
        self.layers = 0


def is_installed() -> bool:
    """Return whether torchao is installed."""
    return find_spec("torchao") is not None


def quantize(transformer: Any, device: torch.device) -> Float8Weights:
    """Quantize the linear layers of a transformer's repeated blocks in place, and return what they share."""
    shared, quantize_layer = Float8Weights(), _quantizer(device)
    kinds = set(getattr(transformer, "_repeated_blocks", None) or ())
    blocks = [module for module in transformer.modules() if type(module).__name__ in kinds]
    for block in blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear) and _is_quantized(name, layer):
                parent, _, own_name = name.rpartition(".")
                setattr(block.get_submodule(parent), own_name, _Float8Linear(layer, quantize_layer, shared))
                shared.layers += 1
    return shared


def _is_quantized(name: str, layer: nn.Linear) -> bool:
    return not any(part in name.lower() for part in _KEPT) and not any(side % _MULTIPLE for side in layer.weight.shape)


def _quantizer(device: torch.device) -> Callable[[nn.Linear], None]:
    """Return the function that quantizes one layer in place, for what a device can multiply."""
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Float8WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    multiplies = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _MIN_CAPABILITY
    config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()) if multiplies else Float8WeightOnlyConfig()
    return lambda layer: quantize_(layer, config)


class _Float8Linear(nn.Module):  # type: ignore[misc]  # mypy sees torch as Any
    """A linear layer with quantized weights, and its original ones for exact requests."""

    def __init__(self, layer: nn.Linear, quantize_layer: Callable[[nn.Linear], None], shared: Float8Weights) -> None:
        super().__init__()
        original = layer.weight.detach()
        self._original = original.cpu().pin_memory() if original.is_cuda else original
        self._shared = shared
        self.quantized = copy.copy(layer)
        self.quantized._parameters = dict(layer._parameters)
        quantize_layer(self.quantized)

    def forward(self, states: Tensor) -> Tensor:
        if not self._shared.is_exact:
            quantized: Tensor = self.quantized(states)
            return quantized
        return linear(states, self._original.to(states.device, non_blocking=True), self.quantized.bias)
