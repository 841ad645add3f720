"""Pictures of clothes in the format of the digits: what a reader of digits has never seen."""

import functools
from typing import ClassVar

from nni_widgets.zoo.digits import FOLDER, Digits, read

FILE = FOLDER / "fashion_ood.npz"


class Fashion(Digits):
    """Pieces of clothing, in the format of MNIST; indexed as ``Digits`` are."""

    __slots__ = ()

    classes: ClassVar[tuple[str, ...]] = (
        "T-shirt or top",
        "trousers",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    def __repr__(self) -> str:
        return f"Fashion({len(self):,} pictures of 28 x 28 pixels in [0, 1], ten kinds of clothes)"


@functools.cache
def fashion() -> Fashion:
    """The first 1,000 test pictures of Fashion-MNIST, to ask a network what it cannot know."""
    return Fashion(*read(FILE))
