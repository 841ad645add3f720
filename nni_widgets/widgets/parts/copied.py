"""Methods and targets in copied code, which must run or say what is still to be defined."""

from __future__ import annotations

from nni_widgets.engine.methods import FunctionMethod
from nni_widgets.engine.targets import Difference, Target
from nni_widgets.params import Declared, as_code, name_of, nameless


class Names:
    """Writes values as code, and remembers the names it gave to what has no code of its own."""

    def __init__(self) -> None:
        self._given: dict[str, None] = {}

    def method(self, method: Declared, otherwise: str = "method") -> str:
        """A method or rules as code; a function by its name, or ``otherwise`` if it has none."""
        if isinstance(method, FunctionMethod):
            return self.function(method.function, otherwise)
        self._given.update(dict.fromkeys(nameless(method)))
        return as_code(method)

    def target(self, target: Target) -> str:
        """A target as code; a function by its name, anything without code as ``target``."""
        if isinstance(target, int):
            return repr(target)
        if isinstance(target, Difference):
            return f"nni.Difference({int(target.first)}, {int(target.second)})"
        return self.function(target, "target")

    def function(self, function: object, otherwise: str) -> str:
        """A function by its name, or ``otherwise`` if it has none."""
        if not name_of(function, ""):
            self._given[otherwise] = None
        return name_of(function, otherwise)

    def comment(self) -> str:
        """The line that says what is to be defined; empty if everything has code."""
        if not self._given:
            return ""
        one, several = "it has no code of its own", "they have no code of their own"
        words = one if len(self._given) == 1 else several
        return f"# define {', '.join(self._given)}: {words}\n"
