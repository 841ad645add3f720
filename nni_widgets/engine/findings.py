"""What the model doctor reports: one finding per thing that stops a method or bends its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was found: an ``error`` stops the method, a ``warning`` bends its meaning."""

    severity: Literal["error", "warning", "note"]
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"
