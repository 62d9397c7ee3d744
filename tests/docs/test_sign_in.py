"""What the page on signing in shows as settings is read by the code that reads settings."""

from __future__ import annotations

from orchestrator.models.access.identity_provider import read_providers
from tests.docs.pages import DOCS, blocks


def test_the_providers_of_the_page_are_read() -> None:
    [block] = [one for one in blocks(DOCS / "sign-in.md") if one.language == "json"]
    corp, google, github = read_providers(block.text)
    assert (corp.name, google.name, github.name) == ("corp", "google", "github")
    assert corp.roles(["data-team", "unknown"]) == ("viewer", "editor")
    assert corp.admits("a@example.org")
    assert not corp.admits("a@a.example.org")
