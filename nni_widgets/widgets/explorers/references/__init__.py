"""What DeepLIFT says, depending on what a picture is compared with."""

from nni_widgets.widgets.explorers.references.explorer import ReferencesExplorer, explore_references

__all__ = ["ReferencesExplorer", "explore_references"]
