"""
Liveness locks: what the kernel or the server drops by itself when the holder dies.

A lock has a generation. The lease row names the generation that its holder keeps; it rises only
when a frozen holder, who cannot let go, is taken over. So the lock of the present lease always
belongs to the present holder, and a start right after SIGKILL finds it free.
"""

import fcntl
import hashlib
import os
from pathlib import Path

from sqlalchemy import Connection, text


class FileLock:
    """
    flock on a file beside the database, one per bot.

    The file stays when the lock goes: removing it would let two processes lock two files of one
    name. A child made by a bare fork (not by exec) shares the lock and keeps it alive.
    """

    def __init__(self, database: Path, bot: str) -> None:
        self._prefix = f"{database.resolve()}.{bot}"
        self._descriptor: int | None = None

    def try_lock(self, _connection: Connection, generation: int) -> bool:
        """Take the lock of this generation; False if somebody else has it."""
        self.unlock()
        suffix = f".{generation}" if generation else ""
        descriptor = os.open(
            f"{self._prefix}{suffix}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def unlock(self) -> None:
        """Let go; harmless if nothing is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class AdvisoryLock:
    """
    A session advisory lock: it lives exactly as long as the server's session of `connection`.

    A new connection must take it again.
    """

    def __init__(self, bot: str) -> None:
        self._bot = bot
        self._key: int | None = None

    def try_lock(self, connection: Connection, generation: int) -> bool:
        """Take the lock of this generation; False if another session has it."""
        if self._key is not None:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
        key = advisory_key(self._bot, generation)
        is_taken = connection.execute(
            text("SELECT pg_try_advisory_lock(:key)"), {"key": key}
        ).scalar_one()
        self._key = key if is_taken else None
        return bool(is_taken)

    def forget(self) -> None:
        """The session is gone and the lock with it."""
        self._key = None


def advisory_key(bot: str, generation: int) -> int:
    """The 64-bit key of a bot's lock; advisory locks are per database, so only bots must differ."""
    name = f"market-maker/lease/{bot}/{generation}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)
