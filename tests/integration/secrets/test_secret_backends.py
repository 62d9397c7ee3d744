"""Secrets kept outside: in the environment, in files, in Vault; each tenant sees its own alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from orchestrator import settings
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.secrets.backends import EnvironmentSecrets, FileSecrets, VaultSecrets
from orchestrator.bootstrap import core as bootstrap
from orchestrator.errors import Conflict, SecretsUnavailable, SettingsError
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.services.quotas import Quotas
from orchestrator.settings import Secrets, Settings

ROOT = Path(__file__).parents[3]
OTHER = UUID("0190a000-0000-7000-8000-00000000000a")
TOKEN = "hvs.a-token-of-tests"


def names(found: Sequence[Any]) -> list[str]:
    return [secret.name for secret in found]


# --- the environment ----------------------------------------------------------------------------


def test_variables_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S_TOKEN", "of the first")
    monkeypatch.setenv(f"S_{OTHER.hex.upper()}__TOKEN", "of the other")
    monkeypatch.setenv(f"S_{DEFAULT_TENANT.hex.upper()}__LONG", "long form")
    backend = EnvironmentSecrets("S_")
    assert backend.values(DEFAULT_TENANT, ["TOKEN", "LONG", "NONE"]) == {
        "TOKEN": "of the first", "LONG": "long form",
    }  # fmt: skip
    assert backend.values(OTHER, ["TOKEN", "LONG"]) == {"TOKEN": "of the other"}
    assert names(backend.list(DEFAULT_TENANT, after="", limit=9)) == ["LONG", "TOKEN"]
    assert names(backend.list(OTHER, after="", limit=9)) == ["TOKEN"]


def test_no_name_of_one_tenant_reads_another_s_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = UUID("abcdefab-cdef-4bcd-8fab-cdefabcdefab")
    monkeypatch.setenv(f"S_{odd.hex.upper()}__TOKEN", "not yours")
    backend = EnvironmentSecrets("S_")
    for name in (f"{odd.hex.upper()}__TOKEN", f"{odd.hex}__TOKEN"):
        assert backend.values(DEFAULT_TENANT, [name]) == {}
    assert names(backend.list(DEFAULT_TENANT, after="", limit=9)) == []


def test_such_variables_are_no_unknown_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_SECRET_VALUE_TOKEN", "a value")
    with pytest.raises(SettingsError, match="unknown setting ZQ_SECRET_VALUE_TOKEN"):
        settings.load()
    monkeypatch.setenv("ZQ_SECRETS__BACKEND", "env")
    assert settings.load().secrets.backend == "env"
    monkeypatch.setenv("ZQ_SECRETS__ENV_PREFIX", "ZQ_WEB__")
    with pytest.raises(SettingsError, match="how settings begin"):
        settings.load()
    monkeypatch.setenv("ZQ_SECRETS__ENV_PREFIX", "ZQ_MINE_")
    with pytest.raises(SettingsError, match="unknown setting ZQ_SECRET_VALUE_TOKEN"):
        settings.load()


# --- files --------------------------------------------------------------------------------------


def test_a_folder_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "..2026_11").mkdir()
    (tmp_path / "..2026_11" / "token").write_text("of the first\n")
    (tmp_path / "..data").symlink_to("..2026_11")
    (tmp_path / "token").symlink_to("..data/token")
    (tmp_path / str(OTHER)).mkdir()
    (tmp_path / str(OTHER) / "token").write_text("of the other\r\n")
    (tmp_path / str(OTHER) / "pem").write_text("a\nb\n\n")
    backend = FileSecrets(tmp_path)
    assert backend.values(DEFAULT_TENANT, ["token", "pem"]) == {"token": "of the first"}
    assert backend.values(OTHER, ["token", "pem"]) == {"token": "of the other", "pem": "a\nb\n"}
    assert names(backend.list(DEFAULT_TENANT, after="", limit=9)) == ["token"]
    assert names(backend.list(OTHER, after="pem", limit=9)) == ["token"]


@pytest.mark.parametrize("name", ["../token", "..", f"{OTHER}/token", "/etc/passwd", "..data"])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "token").write_text("outside")
    inner = tmp_path / "inner"
    (inner / str(OTHER)).mkdir(parents=True)
    (inner / str(OTHER) / "token").write_text("of the other")
    assert FileSecrets(inner).values(DEFAULT_TENANT, [name]) == {}


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretsUnavailable, match="token cannot be read"):
        FileSecrets(tmp_path).values(DEFAULT_TENANT, ["token"])
    (tmp_path / "folder").mkdir()
    assert FileSecrets(tmp_path).values(DEFAULT_TENANT, ["folder", "missing"]) == {}


# --- Vault --------------------------------------------------------------------------------------


@dataclass
class Server:
    """A Vault in a process of its own."""

    url: str

    def change(self, **what: Any) -> None:
        """Change the server itself."""
        httpx.post(f"{self.url}/test", json=what).raise_for_status()

    def write(self, tenant_id: UUID, name: str, value: Any, field: str = "value") -> None:
        """Write a secret the way Vault's users do."""
        path = f"{self.url}/v1/secret/data/zq/{tenant_id}/{name}"
        httpx.post(
            path, json={"data": {field: value}}, headers={"X-Vault-Token": TOKEN}
        ).raise_for_status()

    def delete(self, tenant_id: UUID, name: str) -> None:
        """Delete the newest version of a secret."""
        path = f"{self.url}/v1/secret/data/zq/{tenant_id}/{name}"
        httpx.delete(path, headers={"X-Vault-Token": TOKEN}).raise_for_status()

    def backend(self, **more: str) -> VaultSecrets:
        """Return a client of it."""
        given = {
            "mount": "secret", "path": "zq", "token": TOKEN, "token_path": "", "namespace": "",
            "ca": "", **more,
        }  # fmt: skip
        return VaultSecrets(self.url, **given)


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.vault_server", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        yield Server(f"http://127.0.0.1:{server.stdout.readline().strip()}")
        server.terminate()


@pytest.fixture
def vault(process: Server) -> Server:
    process.change(kept={}, sealed=False, namespace="", token=TOKEN)
    return process


def test_vault_gives_each_tenant_its_own(vault: Server) -> None:
    vault.write(DEFAULT_TENANT, "token", "first version")
    vault.write(DEFAULT_TENANT, "token", "second version")
    vault.write(OTHER, "token", "of the other")
    backend = vault.backend()
    assert backend.values(DEFAULT_TENANT, ["token", "none"]) == {"token": "second version"}
    assert backend.values(OTHER, ["token"]) == {"token": "of the other"}
    vault.write(OTHER, "also", "a value")
    assert names(backend.list(OTHER, after="", limit=9)) == ["also", "token"]
    assert names(backend.list(UUID(int=5), after="", limit=9)) == []


def test_vault_s_deleted_and_odd_values_are_none(vault: Server) -> None:
    vault.write(OTHER, "token", "a value")
    vault.delete(OTHER, "token")
    vault.write(OTHER, "number", 5)
    vault.write(OTHER, "field", "a value", field="password")
    assert vault.backend().values(OTHER, ["token", "number", "field"]) == {}


@pytest.mark.parametrize("name", [f"../{OTHER}/token", "a/b", "%2e%2e", "token?version=1"])
def test_no_name_reaches_another_path_of_vault(vault: Server, name: str) -> None:
    vault.write(OTHER, "token", "of the other")
    assert vault.backend().values(DEFAULT_TENANT, [name]) == {}


def test_vault_away_sealed_or_refusing_is_unavailable(vault: Server, tmp_path: Path) -> None:
    vault.write(OTHER, "token", "a value")
    with pytest.raises(SecretsUnavailable, match="refuses the token") as refused:
        vault.backend(token="hvs.wrong-token").values(OTHER, ["token"])
    assert "hvs" not in str(refused.value)
    vault.change(sealed=True)
    with pytest.raises(SecretsUnavailable, match="503"):
        vault.backend().values(OTHER, ["token"])
    gone = VaultSecrets(
        "http://127.0.0.1:9", mount="m", path="p", token="t", token_path="", namespace="", ca=""
    )
    with pytest.raises(SecretsUnavailable, match="cannot be reached"):
        gone.values(OTHER, ["token"])
    with pytest.raises(SecretsUnavailable, match="token cannot be read"):
        vault.backend(token_path=str(tmp_path / "none")).values(OTHER, ["token"])


def test_vault_s_token_is_read_again_and_its_namespace_sent(vault: Server, tmp_path: Path) -> None:
    vault.write(OTHER, "token", "a value")
    file = tmp_path / "token"
    file.write_text("old\n")
    backend = vault.backend(token="", token_path=str(file), namespace="team/")
    vault.change(namespace="team/")
    with pytest.raises(SecretsUnavailable):
        backend.values(OTHER, ["token"])
    file.write_text(f"{TOKEN}\n")
    assert backend.values(OTHER, ["token"]) == {"token": "a value"}


# --- how they are chosen ------------------------------------------------------------------------


def built(chosen: Secrets) -> Any:
    store = PostgresStore("postgresql://127.0.0.1:1/none")
    quotas = Quotas(store, {}, bootstrap.SystemClock())
    return bootstrap.secrets(replace(Settings(), secrets=chosen), store, quotas)


def test_what_is_kept_outside_is_changed_there(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a value")
    secrets = built(Secrets(backend="files", dir=str(tmp_path)))
    assert secrets.values(DEFAULT_TENANT, ["token", "../x"]) == {"token": "a value"}
    for change in (
        lambda: secrets.put(DEFAULT_TENANT, "token", "another"),
        lambda: secrets.remove(DEFAULT_TENANT, "token"),
        secrets.rotate,
    ):
        with pytest.raises(Conflict, match="kept in files"):
            change()


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        (Secrets(backend="files"), "ZQ_SECRETS__DIR"),
        (Secrets(backend="vault"), "ZQ_SECRETS__VAULT_URL"),
        (Secrets(backend="redis"), "database, env, files or vault"),
        (Secrets(keys="short"), "32 characters"),
    ],
)
def test_wrong_settings_are_told_at_the_start(chosen: Secrets, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        built(chosen)
