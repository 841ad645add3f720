"""What was found, in words."""

from __future__ import annotations

from nni_widgets.pictures.boxes import Box, share_inside
from nni_widgets.pictures.numbers import number, percent
from nni_widgets.widgets.explorers.hans.study import AS_IT_IS
from nni_widgets.widgets.explorers.hans.work import Found, Grouped


def answer(found: Found, at: int) -> str:
    """What the model says to the picture before (0) or after (1) the change, and how sure."""
    pair = found.pair
    return f"{pair.predicted[at]} ({number(float(pair.probabilities[at].max()), largest=1)})"


def inside(found: Found, at: int) -> str:
    """How much of the map before or after the change lies in the box."""
    share = percent(share_inside(found.pair.heatmap(at), found.box))
    return f"{share} of the positive relevance in the box"


def area(box: Box, sides: tuple[int, int]) -> str:
    """How large a box is."""
    share = (box.bottom - box.top) * (box.right - box.left) / (sides[0] * sides[1])
    return f"{percent(share)} of the area"


def groups(found: Grouped, name: str) -> str:
    """How the maps of a class fall into groups."""
    count = len(found.maps.values)
    if found.groups is None:
        return f"class {name}: {count} of {len(found.maps.x)} pictures"
    sizes = ", ".join(map(str, found.groups.labels.bincount().tolist()))
    how_many = len(found.groups.means)
    noun = "group" if how_many == 1 else "groups"
    suggested = found.maps.suggested
    hint = "" if how_many == suggested else f" (the maps suggest {suggested})"
    return f"class {name}: {count} pictures in {how_many} {noun} of {sizes}{hint}"


def group(found: Grouped) -> str:
    """Which pictures are looked at."""
    return "all pictures" if found.group is None else f"group {found.group}"


def counted(found: Found, name: str) -> str:
    """For how many pictures of the group their class is predicted, before and after."""
    of = len(found.members)
    before = f"{group(found)}: {found.called} of {of} are called {name}"
    if found.kept is None:
        return before
    return f"{before}; with the box {found.chosen.change}, {found.kept} of {of}"


def picture(found: Found, name: str) -> str:
    """The picture before and after the change, in a line."""
    before = f"picture {found.place} (class {name}): {answer(found, 0)}"
    if found.chosen.change == AS_IT_IS:
        return before
    return f"{before}; box {found.chosen.change}: {answer(found, 1)}"


def digest(found: Found, name: str, explained: str, method: str, sides: tuple[int, int]) -> str:
    """The numbers that matter."""
    members, box = found.members, tuple(found.box)
    mean = percent(found.share(members))
    lines = [
        f"{method}, target {explained}",
        groups(found, name),
        f"{group(found)}: on average {mean} of the positive relevance in the box",
        counted(found, name),
        picture(found, name),
        f"box {box}, {area(found.box, sides)}: {inside(found, 0)}",
    ]
    if found.chosen.change != AS_IT_IS:
        lines[-1] += (
            f"; {found.chosen.change}: {percent(share_inside(found.pair.heatmap(1), found.box))}"
        )
    return "\n".join(lines)
