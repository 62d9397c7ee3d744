"""glibc gives threads heaps of their own, up to eight a core, and keeps what was freed in each."""

from __future__ import annotations

from collections.abc import MutableMapping


def few_arenas(environment: MutableMapping[str, str]) -> None:
    """Let processes started with this environment share two heaps, unless it says otherwise."""
    environment.setdefault("MALLOC_ARENA_MAX", "2")
