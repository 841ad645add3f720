"""Asking what a user brings along, a generator or a density; whatever fails is one sentence."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from nni_widgets.errors import invalid


def check_guest(who: str, name: str, guest: object, action: str) -> None:
    """Raise ``ValueError`` unless it can be called; a module, or one it is of, is in eval mode."""
    if isinstance(guest, type) or not callable(guest):
        raise invalid(who, name, "a module or a function", repr(guest), action)
    owner = getattr(guest, "__self__", guest)
    if isinstance(owner, nn.Module) and any(module.training for module in owner.modules()):
        expected, action = "in evaluation mode", "Call its eval() first"
        raise invalid(who, name, expected, "training mode", action)


def ask(who: str, name: str, guest: Callable[[Tensor], Tensor], about: Tensor) -> Tensor:
    """What it answers to N rows: one answer to each, or ``ValueError``. It may write to its input.

    Cost: one forward pass of the guest.
    """
    check_guest(who, name, guest, "Give another")
    try:
        made = guest(about.clone())
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        first_line = (str(error).splitlines() or ["no message"])[0]
        given = f"shape {tuple(about.shape)} ({type(error).__name__}: {first_line})"
        action = "Check its shape"
        raise invalid(who, f"the input of {name}", "one it can take", given, action) from error
    if not isinstance(made, Tensor) or made.shape[:1] != about.shape[:1]:
        given = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        expected, action = f"a tensor with {len(about)} rows, as its input", "Return a tensor"
        raise invalid(who, f"the answer of {name}", expected, given, action)
    if about.requires_grad and not made.requires_grad:
        expected, action = "differentiable in its input", "Avoid .detach() and torch.no_grad()"
        raise invalid(who, f"the answer of {name}", expected, "no gradient", action)
    return made
