"""Sealed secrets: they open for what they were sealed for, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from orchestrator.adapters.secrets.box import AesSecretBox
from orchestrator.errors import SecretsUnavailable, SecretUnreadable
from orchestrator.models.secret import SealedSecret

A, B = UUID(int=1), UUID(int=2)
OLD, NEW = "the-older-key-of-these-tests-0001", "the-newer-key-of-these-tests-0002"
VALUE = "swordfish-ü-42"


def sealed(box: AesSecretBox, name: str = "token", version: int = 1) -> SealedSecret:
    return SealedSecret(
        tenant_id=A, name=name, version=version, description="",
        sealed=box.seal(A, name, version, VALUE),
    )  # fmt: skip


def test_a_value_comes_back_and_is_not_to_be_seen() -> None:
    box = AesSecretBox([OLD])
    one, again = sealed(box), sealed(box)
    assert box.open(one) == VALUE
    assert VALUE.encode() not in one.sealed.value + one.sealed.data_key
    assert one.sealed.value != again.sealed.value
    assert one.sealed.data_key != again.sealed.data_key
    assert VALUE not in repr(one)
    assert OLD not in one.sealed.master_key_id


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant_id": B},
        {"name": "Token"},
        {"version": 2},
    ],
)
def test_it_opens_for_no_other_row(changed: dict[str, object]) -> None:
    box = AesSecretBox([OLD])
    with pytest.raises(SecretUnreadable) as refused:
        box.open(replace(sealed(box), **changed))  # type: ignore[arg-type]
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("part", ["value", "data_key"])
@pytest.mark.parametrize("at", [0, 12, -1])
def test_a_changed_byte_is_found(part: str, at: int) -> None:
    box = AesSecretBox([OLD])
    one = sealed(box)
    data = bytearray(getattr(one.sealed, part))
    data[at] ^= 1
    with pytest.raises(SecretUnreadable):
        box.open(replace(one, sealed=replace(one.sealed, **{part: bytes(data)})))
    with pytest.raises(SecretUnreadable):
        box.open(replace(one, sealed=replace(one.sealed, **{part: b"short"})))


def test_parts_of_two_secrets_do_not_fit_together() -> None:
    box = AesSecretBox([OLD])
    one, other = sealed(box), sealed(box, version=2)
    mixed = replace(one.sealed, data_key=other.sealed.data_key)
    with pytest.raises(SecretUnreadable):
        box.open(replace(one, sealed=mixed))


def test_the_newest_key_seals_and_the_older_ones_open() -> None:
    old, both, new = AesSecretBox([OLD]), AesSecretBox([NEW, OLD]), AesSecretBox([NEW])
    one = sealed(old)
    assert both.open(one) == VALUE
    rewrapped = replace(one, sealed=both.rewrap(one))
    assert rewrapped.sealed.value == one.sealed.value
    assert rewrapped.sealed.master_key_id == both.newest == new.newest
    assert new.open(rewrapped) == VALUE
    with pytest.raises(SecretUnreadable, match="ZQ_SECRETS__KEYS"):
        new.open(one)
    with pytest.raises(SecretUnreadable):
        new.rewrap(one)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(SecretsUnavailable, match="ZQ_AUTH__SECRET_KEY"):
        AesSecretBox([]).seal(A, "token", 1, VALUE)
