"""What a network takes for a class, grown from several starts."""

from nni_widgets.widgets.explorers.prototypes.explorer import PrototypesExplorer, explore_prototypes

__all__ = ["PrototypesExplorer", "explore_prototypes"]
