"""Why a model decided so: a picture, and a method or two."""

from nni_widgets.widgets.explorers.method.explorer import Explorer
from nni_widgets.widgets.explorers.method.opening import draw, explore

__all__ = ["Explorer", "draw", "explore"]
