"""The error sentences: every refusal says who refuses, what was expected, what came, what to do."""

from __future__ import annotations


class UnsupportedOperation(NotImplementedError):
    """An operation that a propagation method meets in a model and has no rule for."""


def sentence(who: str, what: str, expected: str, given: object, action: str) -> str:
    """``<Who>: <what> must be <expected>; got <given>. <What to do>.``"""
    return f"{who}: {what} must be {expected}; got {given}. {action.rstrip('.')}."


def invalid(who: str, what: str, expected: str, given: object, action: str) -> ValueError:
    """A ``ValueError`` with the project's sentence; the caller raises it."""
    return ValueError(sentence(who, what, expected, given, action))
