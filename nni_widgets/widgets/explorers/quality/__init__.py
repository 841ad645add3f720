"""How good is an explanation: pixels flipped by hand, and maps of a picture that slides."""

from nni_widgets.widgets.explorers.quality.explorer import QualityExplorer, explore_quality

__all__ = ["QualityExplorer", "explore_quality"]
