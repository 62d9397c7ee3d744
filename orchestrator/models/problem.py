"""What is wrong with a definition or an input: where, which rule, and the remedy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. All findings of a document are reported together, never the first only."""

    #: `nodes[3].data.config.url`; empty for the document as a whole.
    path: str
    #: Stable and snake_case: clients branch on it.
    code: str
    #: Names the remedy, for a person.
    message: str
    #: The node it belongs to, where there is one.
    node: str | None = None


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for a near miss, else an empty string."""
    from difflib import get_close_matches

    near = get_close_matches(word[:100], known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
