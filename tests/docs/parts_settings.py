"""The settings as a table, from `orchestrator.settings.names()` itself."""

from __future__ import annotations

from dataclasses import fields

from orchestrator.settings import NOT_YET, SECTIONS, names


def settings() -> str:
    """Return every setting with its default and meaning."""
    secret = {
        f"ZQ_{section}__{field.name}".upper()
        for section, default in SECTIONS.items()
        for field in fields(default)
        if field.metadata["secret"]
    }
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, (meaning, default) in names().items():
        if name in NOT_YET:
            continue
        shown = f"`{_plain(default)}`" if default != "" else "–"
        more = "; secret" if name in secret else ""
        lines.append(f"| `{name}` | {shown} | {meaning.replace('|', chr(92) + '|')}{more} |")
    return "\n".join(lines)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
