"""Pictures of a generator, searched for a class or walked by hand."""

from nni_widgets.widgets.explorers.codes.explorer import CodesExplorer, explore_codes

__all__ = ["CodesExplorer", "explore_codes"]
