"""Where a network looks: class activation maps."""

from nni_widgets.widgets.explorers.look.explorer import LookExplorer, explore_look

__all__ = ["LookExplorer", "explore_look"]
