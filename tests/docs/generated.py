"""The generated parts of the documents: `python -m tests.docs.generated` writes them all.

A part stands between `<!-- generated: NAME -->` and `<!-- /generated -->`; a test compares each
with what the code says now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.docs import parts_access, parts_api, parts_cli, parts_definition, parts_settings
from tests.docs.pages import DOCS, pages, title
from tests.house import state_machine


def decisions() -> str:
    """Return the list of decisions by the titles they have."""
    lines = []
    for page in sorted((DOCS / "decisions").glob("*.md")):
        heading = page.read_text().partition("\n")[0].removeprefix("# ")
        number, _, text = heading.partition(" ")
        lines.append(f"{int(number.strip('.:'))}. [{text}](decisions/{page.name})")
    return "\n".join(lines)


PARTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "decisions": decisions,
        "run-diagram": state_machine.run_diagram,
        "task-diagram": state_machine.task_diagram,
        "commands": parts_cli.commands,
        "settings": parts_settings.settings,
        "workflow-fields": parts_definition.workflow_fields,
        "settings-fields": parts_definition.settings_fields,
        "retry-fields": parts_definition.retry_fields,
        "node-fields": parts_definition.node_fields,
        "data-fields": parts_definition.data_fields,
        "edge-fields": parts_definition.edge_fields,
        "trigger-rules": parts_definition.trigger_rules,
        "node-types": parts_definition.node_types,
        **{f"config-{name}": config for name, config in parts_definition.config_tables().items()},
        "problem-codes": parts_definition.problem_codes,
        "paths": parts_api.paths,
        "codes": parts_api.codes,
        "close-codes": parts_api.close_codes,
        "metrics": parts_api.metrics,
        "permissions": parts_access.permissions,
        "role-matrix": parts_access.role_matrix,
    }
)
_PART = re.compile(r"<!-- generated: ([a-z-]+) -->\n(.*?)<!-- /generated -->", re.DOTALL)


def named(text: str) -> list[str]:
    """Return the names of the parts in a page, in order."""
    return [part[1] for part in _PART.finditer(text)]


def rewritten(text: str) -> str:
    """Return a page with each part as the code says it now; KeyError for an unknown part."""
    return _PART.sub(
        lambda part: (
            f"<!-- generated: {part[1]} -->\n{PARTS[part[1]]().strip()}\n<!-- /generated -->"
        ),
        text,
    )


def main() -> None:
    """Write every page whose parts have changed, and say which."""
    for page in pages():
        text = page.read_text()
        made = rewritten(text)
        if made != text:
            page.write_text(made)
            print(f"wrote {title(page)}")


if __name__ == "__main__":
    main()
