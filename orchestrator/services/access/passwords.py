"""Passwords: argon2id hashes, checked with the same work whether or not there is an account."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from orchestrator.errors import InvalidDefinition, Problem, ServiceUnavailable

LEAST_CHARACTERS, MOST_BYTES = 12, 1024
#: Hashes computed at a time in a process: each takes 64 MiB and up to four threads.
AT_ONCE = 2
#: How many more may wait for their turn, and seconds until they give up. Each holds a thread that
#: other requests cannot use: a flood of sign-ins is turned away, and leaves most of them free.
WAITING, PATIENCE_S = 2, 3.0


class Passwords:
    """Makes and checks hashes, a bounded number at a time. Safe to share between threads."""

    def __init__(
        self,
        hasher: PasswordHasher | None = None,
        *,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._hasher = hasher or PasswordHasher()
        self._door = threading.BoundedSemaphore(at_once + waiting)
        self._room = threading.BoundedSemaphore(at_once)
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._nobodys = ""

    def hash(self, password: str, *, email: str = "") -> str:
        """Return the hash to keep; InvalidDefinition for a password that will not do."""
        text = _normal(password)
        problem = _unfit(text, email)
        if text is None or problem:
            raise InvalidDefinition(
                [Problem(path="password", code="bad_password", message=problem)],
                "the password will not do",
            )
        with self._turn():
            return self._hasher.hash(text)

    def fits(self, password: str, known: str | None) -> bool:
        """Tell whether a password is the one of a hash; ServiceUnavailable in a flood of sign-ins.

        With None, for nobody's password, it works as long and says False.
        """
        text = _normal(password)
        if text is None:
            # The length is the caller's own doing: it tells nothing about an account.
            return False
        with self._turn():
            # Made by whoever comes first, known or not, so that this tells nothing either.
            nobodys = self._of_nobody()
            try:
                self._hasher.verify(known or nobodys, text)
            except (VerificationError, InvalidHashError):
                return False
        return known is not None

    def rehash(self, password: str) -> str | None:
        """Return the hash of a password that was checked; None for one that is not to be kept."""
        text = _normal(password)
        if text is None:
            return None
        with self._turn():
            return self._hasher.hash(text)

    def outdated(self, known: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(known)

    def _of_nobody(self) -> str:
        with self._lock:
            if not self._nobodys:
                self._nobodys = self._hasher.hash("of nobody")
        return self._nobodys

    @contextmanager
    def _turn(self) -> Iterator[None]:
        flooded = ServiceUnavailable("too many sign-ins at the same time; try again in a moment")
        if not self._door.acquire(blocking=False):
            raise flooded
        try:
            if not self._room.acquire(timeout=self._patience_s):
                raise flooded
            try:
                yield
            finally:
                self._room.release()
        finally:
            self._door.release()


def _normal(password: str) -> str | None:
    """Return the password as it is hashed, so that every keyboard's form of it is the same one."""
    if len(password) > MOST_BYTES:
        return None
    text = unicodedata.normalize("NFKC", password)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return None
    return text if size <= MOST_BYTES else None


def _unfit(text: str | None, email: str) -> str:
    if text is None:
        return f"use at most {MOST_BYTES} bytes of text"
    if len(text) < LEAST_CHARACTERS:
        return f"use at least {LEAST_CHARACTERS} characters"
    if len(set(text)) < 4 or (email and text.lower() in (email, email.partition("@")[0])):
        return "use something that is harder to guess"
    return ""
