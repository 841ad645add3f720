"""A window over the picture, and how far the score falls."""

from nni_widgets.widgets.explorers.occlusion.explorer import OcclusionExplorer, explore_occlusion

__all__ = ["OcclusionExplorer", "explore_occlusion"]
