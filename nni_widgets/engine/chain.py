"""What a plain chain of torch's own modules will call, known before it runs.

A chain is an ``nn.Sequential`` (of such, too) whose modules do nothing but one torch call each, and
that nobody has hooked or changed. Its calls need not be watched to be recorded, which on small
networks halves the time of a recorded pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as for_all_modules

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A torch function and its arguments behind the input."""


class Link(NamedTuple):
    """A module of a Sequential, its path, its label on the tape, and the torch call it makes.

    A module that is not known to be one call stands for itself, without a label.
    """

    path: str
    label: str
    func: Callable[..., Any]
    rest: tuple[Any, ...]


def links(model: nn.Module) -> list[Link] | None:
    """The modules of a chain in the order in which they run; None if the model is no chain."""
    found = steps(model)
    return None if found is None or not all(link.label for link in found) else found


def steps(model: nn.Module) -> list[Link] | None:
    """As ``links``, for any Sequential, what is no single call among them too."""
    return list(_follow(model, "", {})) if runs_its_children(model) else None


def _follow(chain: nn.Module, above: str, used: dict[nn.Module, tuple[str, int]]) -> Iterator[Link]:
    """What runs in a chain; ``used`` tells the path of a module, and how often it was used."""
    for name, module in chain._modules.items():
        if module is None or _is_changed(module):
            yield Link(above + name, "", cast(nn.Module, module), ())
        elif type(module) is nn.Sequential:
            yield from _follow(module, f"{above}{name}.", used)
        else:
            path, uses = used.get(module) or (above + name, 0)
            used[module] = path, uses + 1
            call = _CALLS[type(module)](module)
            if call is None:
                yield Link(path, "", module, ())
            else:
                yield Link(path, labelled(path, uses + 1), *call)


def labelled(name: str, use: int) -> str:
    """What a layer is called on a tape, used for this time."""
    return name if use == 1 else f"{name}#{use}"


def runs_its_children(model: nn.Module) -> bool:
    """Whether a call of it calls its children, one on what the other made, and does no more."""
    hooked = for_all_modules._global_forward_hooks or for_all_modules._global_forward_pre_hooks
    return not hooked and type(model) is nn.Sequential and not _is_changed(model)


def makes_one_call(module: nn.Module | None) -> bool:
    """Whether a call of it is known to be one torch call, and no more."""
    describe = _CALLS.get(type(module))  # type: ignore[arg-type]
    return not (module is None or describe is None or _is_changed(module) or not describe(module))


def _is_changed(module: nn.Module) -> bool:
    """Whether it is of an unknown class, has hooks, or what it runs was replaced."""
    own, kind = module.__dict__, type(module)
    return bool(
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or "forward" in own
        or "_call_impl" in own
        or kind.forward is not _FORWARDS.get(kind)
    )


def _conv2d(m: Any) -> Call | None:
    is_replaced = "_conv_forward" in m.__dict__ or nn.Conv2d._conv_forward is not _CONVOLVE
    if is_replaced or m.padding_mode != "zeros":
        return None
    return torch.conv2d, (*_weights(m), m.stride, m.padding, m.dilation, m.groups)


def _weights(m: Any) -> tuple[Any, Any]:
    """Weight and bias of a layer, found more quickly than by their names."""
    own = m._parameters
    if own.keys() == {"weight", "bias"}:
        return own["weight"], own["bias"]
    return m.weight, m.bias


def _batch_norm(m: Any) -> Call | None:
    if m.training or m.running_mean is None or m.running_var is None:
        return None
    statistics = m.running_mean, m.running_var
    return functional.batch_norm, (*statistics, *_weights(m), False, m.momentum or 0.0, m.eps)


def _max_pool2d(m: Any) -> Call | None:
    if m.return_indices:
        return None
    return functional.max_pool2d, (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)


def _avg_pool2d(m: Any) -> Call:
    windows = (m.kernel_size, m.stride, m.padding)
    return functional.avg_pool2d, (*windows, m.ceil_mode, m.count_include_pad, m.divisor_override)


_CALLS: dict[type[nn.Module], Callable[[Any], Call | None]] = {
    nn.Conv2d: _conv2d,
    nn.Linear: lambda m: (functional.linear, _weights(m)),
    nn.ReLU: lambda _: (torch.relu, ()),
    nn.ReLU6: lambda m: (functional.hardtanh, (m.min_val, m.max_val)),
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool2d,
    nn.AvgPool2d: _avg_pool2d,
    nn.AdaptiveAvgPool2d: lambda m: (functional.adaptive_avg_pool2d, (m.output_size,)),
    nn.Flatten: lambda m: (Tensor.flatten, (m.start_dim, m.end_dim)),
    nn.Dropout: lambda m: (functional.dropout, (m.p, m.training)),
}
_FORWARDS = {kind: kind.forward for kind in _CALLS} | {nn.Sequential: nn.Sequential.forward}
_CONVOLVE = nn.Conv2d._conv_forward
