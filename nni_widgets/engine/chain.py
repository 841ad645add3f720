"""What a plain chain of torch's own modules will call, known before it runs.

A chain is an ``nn.Sequential`` (of such, too) whose modules do nothing but one torch call each, and
that nobody has hooked or changed. Its calls need not be watched to be recorded, which on small
networks halves the time of a recorded pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as for_all_modules

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A torch function and its arguments behind the input."""


class Link(NamedTuple):
    """A module of a chain, its path, its label on the tape, and what it calls."""

    path: str
    label: str
    func: Callable[..., Any]
    rest: tuple[Any, ...]


def links(model: nn.Module) -> list[Link] | None:
    """The modules of a chain in the order in which they run; None if the model is no chain."""
    if not runs_its_children(model):
        return None
    paths: dict[nn.Module, str] = {}
    uses: dict[str, int] = {}
    found = []
    for path, module in _leaves(model):
        describe = _CALLS.get(type(module))
        call = None if describe is None or _is_changed(module) else describe(module)
        if call is None:
            return None
        path = paths.setdefault(module, path)
        uses[path] = use = uses.get(path, 0) + 1
        found.append(Link(path, labelled(path, use), *call))
    return found


def labelled(name: str, use: int) -> str:
    """What a layer is called on a tape, used for this time."""
    return name if use == 1 else f"{name}#{use}"


def runs_its_children(model: nn.Module) -> bool:
    """Whether a call of it calls its children, one on what the other made, and does no more."""
    hooked = for_all_modules._global_forward_hooks or for_all_modules._global_forward_pre_hooks
    return not hooked and type(model) is nn.Sequential and not _is_changed(model)


def _leaves(model: nn.Module, above: str = "") -> Iterator[tuple[str, Any]]:
    """What runs in a chain, with its path; a changed or unknown part as a whole."""
    for name, child in model._modules.items():
        if type(child) is nn.Sequential and not _is_changed(child):
            yield from _leaves(child, f"{above}{name}.")
        else:
            yield above + name, child


def _is_changed(module: nn.Module) -> bool:
    """Whether it has hooks, or what it runs was replaced, in it or in its class."""
    own, kind = vars(module), type(module)
    return bool(
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or "forward" in own
        or "_call_impl" in own
        or kind.forward is not _FORWARDS[kind]
    )


def _conv2d(m: Any) -> Call | None:
    if m.padding_mode != "zeros" or getattr(m._conv_forward, "__func__", None) is not _CONVOLVE:
        return None
    return torch.conv2d, (m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


def _max_pool2d(m: Any) -> Call | None:
    if m.return_indices:
        return None
    return functional.max_pool2d, (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)


def _avg_pool2d(m: Any) -> Call:
    windows = (m.kernel_size, m.stride, m.padding)
    return functional.avg_pool2d, (*windows, m.ceil_mode, m.count_include_pad, m.divisor_override)


_CALLS: dict[type[nn.Module], Callable[[Any], Call | None]] = {
    nn.Conv2d: _conv2d,
    nn.Linear: lambda m: (functional.linear, (m.weight, m.bias)),
    nn.ReLU: lambda _: (torch.relu, ()),
    nn.MaxPool2d: _max_pool2d,
    nn.AvgPool2d: _avg_pool2d,
    nn.AdaptiveAvgPool2d: lambda m: (functional.adaptive_avg_pool2d, (m.output_size,)),
    nn.Flatten: lambda m: (Tensor.flatten, (m.start_dim, m.end_dim)),
    nn.Dropout: lambda m: (functional.dropout, (m.p, m.training)),
}
_FORWARDS = {kind: kind.forward for kind in _CALLS} | {nn.Sequential: nn.Sequential.forward}
_CONVOLVE = nn.Conv2d._conv_forward
