"""Dataclasses of tensors that travel from a loader's worker to the device as one thing."""

from dataclasses import fields, replace

from torch import Tensor


class TensorRecord:
    """Mixin for a frozen dataclass: moves all tensors in it, also those of nested records."""

    def to(self, device, non_blocking: bool = False):
        """Return a copy on `device`; with pinned memory and `non_blocking` nothing waits."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self):
        """Return a copy in page-locked memory; a DataLoader calls this by itself."""
        return self._map(Tensor.pin_memory)

    def _map(self, function):
        return replace(
            self, **{f.name: _apply(getattr(self, f.name), function) for f in fields(self)}
        )


def _apply(value, function):
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, TensorRecord):
        return value._map(function)
    if isinstance(value, tuple):
        return tuple(_apply(item, function) for item in value)
    return value
