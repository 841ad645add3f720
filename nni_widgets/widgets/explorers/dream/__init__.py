"""A photograph that changes until a layer sees more of what it sees in it."""

from nni_widgets.widgets.explorers.dream.explorer import DreamExplorer, explore_dream

__all__ = ["DreamExplorer", "explore_dream"]
