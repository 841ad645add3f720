"""A picture that is turned, shifted or mixed with another, and how sure the model is of it."""

from nni_widgets.widgets.explorers.uncertainty.explorer import (
    UncertaintyExplorer,
    explore_uncertainty,
)

__all__ = ["UncertaintyExplorer", "explore_uncertainty"]
