"""Composites: which rule acts on which layer.

A composite is an ordered list of (where, rule) pairs; the first pair that matches a layer decides.
``where`` is a layer's label or a pattern for it (``"conv1"``, ``"features.*"``), or a word that
selects by position or kind: ``":first"`` (every layer that reads the input directly), ``":last"``,
``":upper"``, ``":middle"``, ``":lower"`` (thirds of the layers with weights, the output above),
``":conv"``, ``":dense"``; ``"*"`` is every layer with weights. Steps without weights have rules of
their own, which ``":maxpool"``, ``":pool"``, ``":sum"``, ``":norm"``, or a label, can replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.operations import Family, family, group
from nni_widgets.engine.rules import (
    PRODUCTS,
    AlphaBeta,
    Derivative,
    Epsilon,
    Flat,
    Gamma,
    NoRelevance,
    OneToOne,
    Pass,
    Proportional,
    Rule,
    WinnerTakesAll,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
    declared_epsilon,
    declared_gamma,
    declared_high,
    declared_low,
    is_known,
    keeps_zeros,
)
from nni_widgets.engine.tape import Tape, record
from nni_widgets.errors import UnsupportedOperation, invalid
from nni_widgets.params import Declared, param

Pairs = tuple[tuple[str, Rule], ...]
_THIRDS = (":lower", ":middle", ":upper")
_FOR_WEIGHTS = {":first", ":last", ":conv", ":dense", *_THIRDS}
_WORDS = (
    *(":first", ":last", ":upper", ":middle", ":lower", ":conv", ":dense"),
    *(":pool", ":maxpool", ":sum", ":norm", ":relu"),
)
_WITHOUT_WEIGHTS: dict[str, Rule] = {
    "linear": Proportional(),
    "move": Derivative(),
    "maximum": WinnerTakesAll(),
    "activation": Pass(),
}
_INSIDE = "inside"
_BY_CONSTANTS = {"add", "sub", "rsub", "mul", "div", "true_divide", "truediv", "neg"}


class Preset(Declared):
    """Base of the composites: a value that yields (where, rule) pairs."""

    def pairs(self) -> Pairs:
        """The pairs in their order."""
        raise NotImplementedError


class Uniform(Preset):
    """One rule for every layer with weights."""

    rule: Rule = param(Epsilon(), "the rule of every layer", options=lambda: RULES)

    def validate(self) -> None:
        _check_rule("Uniform", "rule", self.rule)

    def pairs(self) -> Pairs:
        return (("*", self.rule),)


class EpsilonGammaBox(Preset):
    """The default for images: zᴮ at the pixels, γ in convolutions, ε in dense layers.

    Source: Montavon et al. 2019 (LRP overview), sec. 10.3; Anders et al. 2021 (Zennit) by name.
    """

    epsilon: float = declared_epsilon()
    gamma: float = declared_gamma()
    low: float | Sequence[float] = declared_low()
    high: float | Sequence[float] = declared_high()

    def pairs(self) -> Pairs:
        return (
            (":first", ZBox(low=self.low, high=self.high)),
            (":conv", Gamma(gamma=self.gamma)),
            ("*", Epsilon(epsilon=self.epsilon)),
        )


class Thirds(Preset):
    """Another rule for each third of the layers with weights, and one for the pixels.

    LRP-0 above, where the signal is clean, ε in the middle, γ (or αβ) below, zᴮ at the pixels.
    Layers with weights are counted in the order in which they run; ReLU and pooling do not count.

    Source: Montavon et al. 2019 (LRP overview), sec. 10.3.
    """

    upper: Rule = param(Zero(), "the rule next to the output", options=lambda: RULES)
    middle: Rule = param(Epsilon(), "the rule in the middle", options=lambda: RULES)
    lower: Rule = param(Gamma(), "the rule next to the input", options=lambda: RULES)
    first: Rule = param(ZBox(), "the rule of the layers that see the pixels", options=lambda: RULES)

    def validate(self) -> None:
        for name in ("upper", "middle", "lower", "first"):
            _check_rule("Thirds", name, getattr(self, name))

    def pairs(self) -> Pairs:
        return (
            (":first", self.first),
            (":upper", self.upper),
            (":middle", self.middle),
            (":lower", self.lower),
        )


class EpsilonPlus(Preset):
    """z⁺ in convolutions, ε in dense layers: robust and smooth, all positive below.

    Source: Kohlbrenner et al. 2020, sec. III (LRP-CMP with α = 1).
    """

    epsilon: float = declared_epsilon()

    def pairs(self) -> Pairs:
        return ((":conv", ZPlus()), ("*", Epsilon(epsilon=self.epsilon)))


class EpsilonPlusFlat(Preset):
    """EpsilonPlus with the relevance of the lowest layer spread evenly: where, not what.

    Source: Kohlbrenner et al. 2020, sec. III (LRP-CMP with α = 1 and ♭ in the lowest layer).
    """

    epsilon: float = declared_epsilon()

    def pairs(self) -> Pairs:
        return ((":first", Flat()), *EpsilonPlus(epsilon=self.epsilon).pairs())


class EpsilonAlpha2Beta1(Preset):
    """α2β1 in convolutions, ε in dense layers: shows counter-evidence, crisp and noisy.

    Source: Kohlbrenner et al. 2020, sec. III (LRP-CMP with α = 2).
    """

    epsilon: float = declared_epsilon()

    def pairs(self) -> Pairs:
        return ((":conv", AlphaBeta(alpha=2.0)), ("*", Epsilon(epsilon=self.epsilon)))


class EpsilonAlpha2Beta1Flat(Preset):
    """EpsilonAlpha2Beta1 with the relevance of the lowest layer spread evenly: less noise.

    Source: Kohlbrenner et al. 2020, sec. III (LRP-CMP with α = 2 and ♭ in the lowest layer).
    """

    epsilon: float = declared_epsilon()

    def pairs(self) -> Pairs:
        return ((":first", Flat()), *EpsilonAlpha2Beta1(epsilon=self.epsilon).pairs())


class Composite(Preset):
    """A table of one's own: ``Composite({"conv1": ZBox(), ":conv": Gamma(), "*": Epsilon()})``.

    Raises ``ValueError`` for an unknown word, an empty table, or a value that is no rule.
    """

    table: Mapping[str, Rule] | Pairs = param((), "where -> rule, first match wins")

    def validate(self) -> None:
        pairs = self.table.items() if isinstance(self.table, Mapping) else self.table
        try:
            table = tuple((where, rule) for where, rule in pairs)
        except (TypeError, ValueError) as error:
            expected, given = "a table {where: rule}", repr(self.table)
            action = 'For example {":conv": nni.Gamma(), "*": nni.Epsilon()}'
            raise invalid("Composite", "table", expected, given, action) from error
        object.__setattr__(self, "table", table)
        if not self.pairs():
            raise invalid("Composite", "table", "a rule for at least one layer", "an empty table",
                          'Begin with {"*": nni.Epsilon()}')  # fmt: skip
        for where, rule in self.pairs():
            if not isinstance(where, str) or (where.startswith(":") and where not in _WORDS):
                expected = f"a layer's name, a pattern, or one of {', '.join(_WORDS)}"
                raise invalid(
                    "Composite", "where", expected, repr(where), "See nni.layers(model, x)"
                )
            _check_rule("Composite", f"the rule of {where!r}", rule)

    def pairs(self) -> Pairs:
        return self.table  # type: ignore[return-value]


def _check_rule(who: str, what: str, rule: object) -> None:
    if not callable(rule) or isinstance(rule, type):
        action = "Call the class to make a rule"
        raise invalid(who, what, "a rule such as nni.Epsilon()", repr(rule), action)


RULES: tuple[type[Rule], ...] = (Epsilon, Zero, Gamma, AlphaBeta, ZPlus, ZBox, WSquare, Flat)
PRESETS: tuple[type[Preset], ...] = (
    EpsilonGammaBox,
    Thirds,
    EpsilonPlus,
    EpsilonPlusFlat,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    Uniform,
)


def as_composite(rules: Rule | Preset | Mapping[str, Rule]) -> Preset:
    """A rule for all layers, a preset, or a table, as a composite."""
    if isinstance(rules, Preset):
        return rules
    if isinstance(rules, Rule):
        return Uniform(rule=rules)
    if isinstance(rules, Mapping):
        return Composite(table=rules)
    expected = "a rule, a composite or a table {where: rule}"
    raise invalid("LRP", "rules", expected, repr(rules), "For example nni.EpsilonGammaBox()")


def assign(composite: Preset, tape: Tape, who: str = "LRP") -> dict[str, Rule]:
    """The rule of every operation on the tape, by label.

    Raises ``ValueError`` for a name that matches no operation, :class:`UnsupportedOperation` for an
    operation that has no rule.
    """
    return _assign(composite, _steps(tape), who)[0]


def assign_lean(composite: Preset, tape: Tape, who: str = "LRP") -> dict[str, Rule]:
    """As ``assign``, for a lean tape: what its rules may look at is on it again. Raises the same.

    Cost: nothing, or one more run of the layers before a ReLU, where rules give relevance to zeros.
    """
    rules, looked_at = _assign(composite, _steps(tape), who)
    if looked_at:
        readers = {number: op for op in tape.ops for number in op.inputs}
        for op in tape.ops:
            if op.is_cut and op.label in looked_at:
                op.restore(readers[op.outputs[0]])
    return rules


def _steps(tape: Tape) -> tuple[Any, ...]:
    return tuple(
        [(op.label, op.path, op.kind, op.inputs, op.outputs, family(op)) for op in tape.ops]
    )


class _Step(NamedTuple):
    """What the choice of a rule depends on; equal for all passes of one model."""

    label: str
    path: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    family: Family


@lru_cache(maxsize=256)
def _assign(
    composite: Preset, keys: tuple[Any, ...], who: str
) -> tuple[dict[str, Rule], frozenset[str]]:
    """The rules, and the operations whose negative results they may look at behind a ReLU."""
    pairs, steps = composite.pairs(), tuple(map(_Step._make, keys))
    _check_names(pairs, steps, who)
    places = _places(steps)
    fed = set(steps[-1].outputs) if steps else set()
    chosen: dict[str, Rule | None] = {}
    for step in reversed(steps):
        is_fed = not fed.isdisjoint(step.outputs)
        rule = _rule_of(step, places[step.label], pairs) if is_fed else NoRelevance()
        fed.update(_fed_by(rule, step.inputs))
        chosen[step.label] = rule
    rules = {step.label: chosen[step.label] or _refuse(step, who) for step in steps}
    return rules, frozenset(_looked_at(steps, rules))


def _looked_at(steps: tuple[_Step, ...], rules: Mapping[str, Rule]) -> Iterator[str]:
    zeros_get_some = not all(map(is_known, rules.values()))
    for step in reversed(steps):
        if zeros_get_some:
            yield step.label
        rule = rules[step.label]
        zeros_get_some |= not keeps_zeros(rule, step.kind, step.family, len(step.outputs))


def layers(model: nn.Module, x: Tensor) -> dict[str, str]:
    """The operations of a model on x that a rule can be given to: label -> kind, in their order.

    Cost: one forward pass.
    """
    check_model("layers", model)
    check_input("layers", model, x)
    return {op.label: op.kind for op in canonical(record(model, x, "layers")).ops}


def _rule_of(op: _Step, words: set[str], pairs: Iterable[tuple[str, Rule]]) -> Rule | None:
    """The rule of the first pair that matches, or the default of a step without weights."""
    kind = op.family
    for where, rule in pairs:
        named = where in words or where == op.label
        pattern = kind == "affine" and fnmatchcase(op.label, where)
        if (named and (kind == "affine" or where not in _FOR_WEIGHTS)) or pattern:
            return rule
    is_by_constants = op.kind in _BY_CONSTANTS and len(op.inputs) == 1
    if is_by_constants and kind == "linear" and _INSIDE not in words:
        return OneToOne()
    return _WITHOUT_WEIGHTS.get(kind)


def _fed_by(rule: Rule | None, inputs: tuple[int, ...]) -> Iterator[int]:
    """The inputs that can get relevance; what is no :class:`Rule` may feed all."""
    feeds = rule.feeds(len(inputs)) if isinstance(rule, Rule) else (True,) * len(inputs)
    return (number for number, gets in zip(inputs, feeds, strict=True) if gets)


def _refuse(op: _Step, who: str) -> NoReturn:
    where = f"in {op.path!r}" if op.path else "in the model's forward"
    raise UnsupportedOperation(
        f"{who}: no rule for {op.kind} ({where}). "
        f"{_advice(op)}, or name a rule for {op.label!r} in the composite."
    )


def _advice(op: _Step) -> str:
    if op.kind in {"softmax", "log_softmax"}:
        return "Let the model return logits"
    if op.kind in PRODUCTS:
        return (
            "A product of two signals has no agreed rule: choose a gradient method, let the signal "
            "take all with nni.SignalTakesAll()"
        )
    return "Choose a gradient method"


def _places(steps: tuple[_Step, ...]) -> dict[str, set[str]]:
    """The words that hold for each step: by its kind, and by its place among those with weights.

    First are the affine layers that see the input through no other one.
    """
    behind: set[int] = set()
    words: dict[str, set[str]] = {}
    weighted = [op.label for op in steps if op.family == "affine"]
    for op in steps:
        words[op.label] = found = {f":{group(op.kind)}"}
        is_behind = bool(behind.intersection(op.inputs))
        if is_behind:
            found.add(_INSIDE)
        elif op.family == "affine":
            found.add(":first")
        if is_behind or op.family == "affine":
            behind.update(op.outputs)
    for place, label in enumerate(weighted):
        words[label].add(_THIRDS[3 * place // len(weighted)])
    if weighted:
        words[weighted[-1]].add(":last")
    return words


def _check_names(pairs: Pairs, steps: tuple[_Step, ...], who: str) -> None:
    known = {"*", *_WORDS, *(op.label for op in steps)}
    weighted = [op.label for op in steps if op.family == "affine"]
    for where, _ in pairs:
        if where in known or any(fnmatchcase(w, where) for w in weighted):
            continue
        expected = f"one of {', '.join(weighted)}"
        raise invalid(who, "the layer of a rule", expected, repr(where), "Correct its name")
