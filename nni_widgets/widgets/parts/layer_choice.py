"""Which layer of a network: a drop-down, the results of its blocks first."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.anatomy import anatomy
from nni_widgets.engine.operations import group
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.quiet import Quiet

_BLOCK = re.compile(r"[^.#]*(\.\d+(?=[.#]|$))*")


@dataclass(frozen=True)
class Layer:
    """An operation as a choice: its name and kind, and the ``shape`` of what it makes of a sample.

    ``closes`` says whether it is the last one of a block, the block's result.
    """

    label: str
    kind: str
    shape: tuple[int, ...]
    closes: bool

    @property
    def channels(self) -> int:
        """How many channels, or units, it has."""
        return self.shape[0]

    @property
    def n_places(self) -> int:
        """At how many places each channel is."""
        return math.prod(self.shape[1:])


def layers_of(model: nn.Module, x: Tensor) -> tuple[Layer, ...]:
    """The layers with channels, from the first one with weights to the logits, in their order.

    Raises as a method does. Cost: one forward pass.
    """
    parts = anatomy(model, x)
    blocks = [_block_of(part.label) for part in parts]
    found = [
        Layer(part.label, part.kind, part.shape, block != following)
        for part, block, following in zip(parts, blocks, [*blocks[1:], ""], strict=True)
    ]
    weighted = (n for n, layer in enumerate(found) if group(layer.kind) in ("conv", "dense"))
    return tuple(layer for layer in found[next(weighted, 0) :] if 1 <= len(layer.shape) <= 3)


def results(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Those that are the result of a block; in a network without blocks they all are."""
    return tuple(layer for layer in layers if layer.closes)


class LayerPicker:
    """A drop-down of layers; ``on_change()`` is called when the user chooses one.

    ``label`` is the chosen one, ``""`` for the usual one as long as nothing was chosen.
    """

    def __init__(self, label: str, on_change: Callable[[], None]) -> None:
        self._on_change, self._quiet = on_change, Quiet()
        self._known: tuple[Layer, ...] = ()
        self.label = label
        self.widget = widgets.Dropdown(
            description="layer", style=SIDE_STYLE, layout=SIDE
        ).add_class("nn-layer")
        self.widget.observe(lambda _: None if self._quiet else self._chosen(), "value")
        self.show(label)

    @property
    def known(self) -> tuple[Layer, ...]:
        """The layers that can be chosen."""
        return self._known

    def offer(self, layers: tuple[Layer, ...]) -> None:
        """Let the user choose among these."""
        self._known = layers

    def show(self, label: str) -> None:
        """Stand at this layer without calling back; one that is not there is for others to say."""
        inside = tuple(layer for layer in self._known if not layer.closes)
        options = [(_in_words(layer), layer.label) for layer in (*results(self._known), *inside)]
        if label not in [known for _, known in options]:
            options.insert(0, (label or "the usual one", label))
        with self._quiet:
            if options != list(self.widget.options):
                self.widget.options = options
            self.widget.value = label

    def _chosen(self) -> None:
        self.label = str(self.widget.value)
        self._on_change()


def _block_of(label: str) -> str:
    """The block of a layer: its first name and the numbers right after it, ``blocks.3``."""
    found = _BLOCK.match(label)
    return found[0] if found else label


def _in_words(layer: Layer) -> str:
    where = "" if layer.closes else ", inside"
    return f"{layer.label} ({layer.channels}{where})"
