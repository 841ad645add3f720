"""A layer's maps, what a channel answers to, and what the layer keeps."""

from nni_widgets.widgets.explorers.activations.explorer import (
    ActivationsExplorer,
    explore_activations,
)

__all__ = ["ActivationsExplorer", "explore_activations"]
