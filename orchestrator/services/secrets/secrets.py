"""Secrets: set and forgotten by people who may, opened for workers only, kept in one of several
places. No value comes back by any way but `values`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID

from orchestrator.errors import Conflict, InvalidDefinition, NotFound, Problem, SecretUnreadable
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.secret import NAME, Sealed, SealedSecret, Secret, refused
from orchestrator.ports.acting import Acting, acting_as, note
from orchestrator.ports.quotas import QuotaChecks
from orchestrator.ports.secrets import SecretBackend, SecretBox, SecretRows, WritableBackend

#: How many secrets a rotation looks at in one go.
_SLICE = 100

Admit = Callable[[QuotaChecks, UUID], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation has done."""

    #: Under the newest master key now.
    rewrapped: int
    #: (tenant, name, why): what could not be opened stays as it was.
    failed: tuple[tuple[UUID, str, str], ...] = ()


class SealedSecrets:
    """The backend `database`: rows of the record, sealed. Answers `ports.secrets`."""

    place = "the database"

    def __init__(self, rows: SecretRows, box: SecretBox, admit: Admit) -> None:
        self._rows = rows
        self._box = box
        self._admit = admit

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """See the port."""
        return self._rows.list(tenant_id, after=after, limit=limit)

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        """See the port; SecretUnreadable for what cannot be opened."""
        return {each.name: self._box.open(each) for each in self._rows.sealed(tenant_id, names)}

    def put(
        self, tenant_id: UUID, name: str, value: str, description: str | None
    ) -> tuple[Secret, bool]:
        """See the port."""
        with self._rows.begin() as work:
            before = work.get(tenant_id, name)
            if before is None and work.quotas is not None:
                self._admit(work.quotas, tenant_id)
            version = before.version + 1 if before else 1
            if description is None:
                description = before.description if before else ""
            now = SealedSecret(
                tenant_id=tenant_id, name=name, version=version, description=description,
                sealed=self._box.seal(tenant_id, name, version, value),
            )  # fmt: skip
            note("secret", name, before=_digest(before), after=_digest(now))
            return work.put(now), before is None

    def remove(self, tenant_id: UUID, name: str) -> bool:
        """See the port."""
        with self._rows.begin() as work:
            before = work.get(tenant_id, name)
            if before is None:
                return False
            note("secret", name, before=_digest(before))
            work.remove(tenant_id, name)
            return True

    def rotate(self) -> Rotated:
        """Put every secret of every tenant under the newest master key.

        Each commits by itself: stopped half-way, the next one goes on; repeated, it does nothing.
        """
        newest, rewrapped = self._box.newest, 0
        failed: list[tuple[UUID, str, str]] = []
        after: tuple[UUID, str] | None = None
        while found := self._rows.under_other_keys(newest, after=after, limit=_SLICE):
            for each in found:
                try:
                    rewrapped += self._rewrap(each, self._box.rewrap(each))
                except SecretUnreadable as error:
                    failed.append((each.tenant_id, each.name, error.detail))
            after = found[-1].tenant_id, found[-1].name
        return Rotated(rewrapped=rewrapped, failed=tuple(failed))

    def _rewrap(self, secret: SealedSecret, sealed: Sealed) -> bool:
        who = replace(ADMIN, tenant_id=secret.tenant_id)
        with (
            acting_as(Acting(principal=who, action="secrets.rotate")),
            self._rows.begin() as work,
        ):
            done = work.rewrap(secret, sealed)
            if done:
                note("secret", secret.name, before=_digest(secret), after=_digest(secret))
            return done


def _digest(secret: SealedSecret | None) -> str | None:
    """Return the digest of the sealed value: one of the plain value could be guessed."""
    return sha256(secret.sealed.value).hexdigest() if secret else None


class Secrets:
    """The use cases, over whichever backend is set."""

    def __init__(
        self, backend: SecretBackend, *, writable: WritableBackend | None, sealed: SealedSecrets
    ) -> None:
        self._backend = backend
        self._writable = writable
        self._sealed = sealed

    def list(self, tenant_id: UUID, *, after: str = "", limit: int) -> Sequence[Secret]:
        """Return secrets by name, without values."""
        return self._backend.list(tenant_id, after=after, limit=limit)

    def put(
        self, tenant_id: UUID, name: str, value: str, *, description: str | None = None
    ) -> tuple[Secret, bool]:
        """Set a secret; return it and whether it is new.

        InvalidDefinition names what is wrong with the name or the value, never the value itself;
        Conflict where secrets are kept elsewhere; QuotaExceeded.
        """
        problems = name_problems(name)
        if why := refused(value):
            problems.append(Problem("value", "bad_value", f"the value {why}"))
        if problems:
            raise InvalidDefinition(problems, "This cannot be a secret.")
        return self._changeable().put(tenant_id, name, value, description)

    def remove(self, tenant_id: UUID, name: str) -> None:
        """Forget a secret; NotFound, Conflict."""
        if not NAME.match(name) or not self._changeable().remove(tenant_id, name):
            raise NotFound(f"there is no secret {name[:64]!r}")

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        """Return the values of those of the names that are there: for workers only."""
        return self._backend.values(tenant_id, [name for name in names if NAME.match(name)])

    def rotate(self) -> Rotated:
        """Put every secret of the database under the newest master key; Conflict elsewhere."""
        self._changeable()
        return self._sealed.rotate()

    def _changeable(self) -> WritableBackend:
        if self._writable is None:
            raise Conflict(f"secrets are kept in {self._backend.place}: change them there")
        return self._writable


def name_problems(name: str) -> list[Problem]:
    """Return what is wrong with a secret's or variable's name."""
    if NAME.match(name):
        return []
    text = "must start with a letter or _ and hold at most 64 of A-Z a-z 0-9 _"
    return [Problem("name", "bad_name", text)]
