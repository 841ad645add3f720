"""What every method checks before and after it runs the model, each refusal one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nni_widgets.errors import UnsupportedOperation, invalid


def check_model(who: str, model: nn.Module) -> None:
    """Raise ``ValueError`` unless the model is an ``nn.Module`` in evaluation mode throughout."""
    if not isinstance(model, nn.Module):
        raise invalid(who, "model", "a torch.nn.Module", type(model).__name__, "Pass the module")
    if _is_training(model):
        name = next(name for name, module in model.named_modules() if module.training)
        given = f"training mode (in {name!r})" if name else "training mode"
        raise invalid(who, "the model", "in evaluation mode", given, "Call model.eval() first")


def _is_training(module: nn.Module | None) -> bool:
    return module is not None and (
        module.training or any(map(_is_training, module._modules.values()))
    )


def check_input(who: str, model: nn.Module, x: Tensor) -> None:
    """Raise ``ValueError`` unless x is a finite floating-point batch that suits the model."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        is_tensor = isinstance(x, Tensor)
        given = f"dtype {x.dtype}" if is_tensor else type(x).__name__
        action = "Use x.float()" if is_tensor else "Use torch.as_tensor(x).float()"
        raise invalid(who, "x", "a tensor of floating-point numbers", given, action)
    if x.ndim < 2 or not x.numel():
        expected = "a batch of at least one sample, shape (N, ...)"
        raise invalid(who, "x", expected, f"shape {tuple(x.shape)}", "Use x[None] for one sample")
    weight = _first_weight(model)
    if weight is not None and (weight.dtype, weight.device) != (x.dtype, x.device):
        expected = f"{weight.dtype} on {weight.device}, as the model"
        raise invalid(who, "x", expected, f"{x.dtype} on {x.device}", "Convert it with x.to(...)")
    if not _all_finite(x):
        count = int((~x.isfinite()).sum())
        given = f"{count} pixels that are NaN or infinite"
        raise invalid(who, "x", "finite numbers", given, "Clean the input, e.g. with nan_to_num()")


def _first_weight(module: nn.Module) -> Tensor | None:
    """The first of ``module.parameters()`` that is a floating-point tensor, found quickly."""
    for own in module._parameters.values():
        if own is not None and own.is_floating_point():
            return own
    for child in module._modules.values():
        weight = None if child is None else _first_weight(child)
        if weight is not None:
            return weight
    return None


def check_logits(who: str, logits: Any) -> None:
    """Raise ``ValueError`` unless the output is finite logits ``(N, K)``, not probabilities."""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        kind = type(logits).__name__
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {kind}"
        expected = "a tensor of logits of shape (N, K)"
        raise invalid(who, "the model's output", expected, given, "Wrap the model to return logits")
    logits = logits.detach()
    sums = logits.sum(1).tolist()
    if not all(map(math.isfinite, sums)) and not bool(logits.isfinite().all()):
        given = "NaN or infinite numbers"
        raise invalid(who, "the model's output", "finite", given, "Check the weights")
    ones = logits.shape[1] > 1 and all(abs(each - 1) < 1e-4 for each in sums)
    if ones and bool((logits >= 0).all()):
        given = "probabilities that sum to 1 (a softmax at the end)"
        action = "Remove the softmax: its gradient mixes all classes"
        raise invalid(who, "the model's output", "unnormalised logits", given, action)


def _all_finite(x: Tensor) -> bool:
    return math.isfinite(x.detach().sum().item()) or bool(x.isfinite().all())


def run(who: str, model: Callable[[Tensor], Any], x: Tensor) -> Any:
    """``model(x)``, its failure told with the shape that caused it."""
    try:
        return model(x)
    except UnsupportedOperation:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        given = f"shape {tuple(x.shape)} ({type(error).__name__}: {_first_line(error)})"
        action = "Check the number of channels and the size, or the model's forward"
        raise invalid(who, "x", "an input that the model can take", given, action) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
