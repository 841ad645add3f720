"""A network as boxes, and what each layer makes of a picture."""

from nni_widgets.widgets.explorers.layers.explorer import LayersExplorer, explore_layers

__all__ = ["LayersExplorer", "explore_layers"]
