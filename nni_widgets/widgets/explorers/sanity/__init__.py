"""What maps still look like when the network has forgotten what it learnt."""

from nni_widgets.widgets.explorers.sanity.explorer import SanityExplorer, explore_sanity

__all__ = ["SanityExplorer", "explore_sanity"]
