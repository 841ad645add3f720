"""Does the model look at the thing, or at a mark beside it? Maps in groups, and marks wiped off."""

from nni_widgets.widgets.explorers.hans.explorer import HansExplorer, explore_hans

__all__ = ["HansExplorer", "explore_hans"]
