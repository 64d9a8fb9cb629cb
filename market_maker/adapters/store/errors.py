"""
What the two databases may say, in our words.

StoreBusy says that trying again may help (a lock, a serialization failure, a lost connection: the
compare-and-set makes a repeated `record` harmless). Every other StoreError names the database, what
is wrong with it and what to do. Passwords never show.
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from market_maker.domain.errors import StoreBusy, StoreError

_SQLITE_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "the disk or the database is full; free space and start again",
    sqlite3.SQLITE_READONLY: "the file is read-only; make the file and its folder writable",
    sqlite3.SQLITE_IOERR: "the disk reported an I/O error; check the disk and start again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a backup or rebuild from the exchange",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database; check database.url",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that it exists and its permissions",
    sqlite3.SQLITE_PERM: "access was denied; check the permissions of the file and its folder",
    sqlite3.SQLITE_AUTH: "access was denied; check the permissions of the file and its folder",
    sqlite3.SQLITE_CONSTRAINT: "the rows contradict what is already stored; nothing was written",
}

# SQLSTATE prefixes, longest first: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_ADVICE: Final = (
    ("53100", "the server's disk is full; free space and start again"),
    ("53300", "the server has no connection left; raise max_connections or stop other clients"),
    ("53", "the server is short of a resource; see its log"),
    ("58", "the server reported a system or I/O error; see its log"),
    ("XX", "the server reported damaged data; see its log and restore a backup"),
    ("25006", "the database is read-only; connect to the primary server, or grant writing"),
    ("28", "access was denied; check user and password in database.url"),
    ("3D", "the database does not exist; create it, or check database.url"),
    ("42501", "access was denied; grant the user rights on the tables"),
    ("42", "the schema is not the expected one; run `market-maker db upgrade`"),
    ("23", "the rows contradict what is already stored; nothing was written"),
)
_POSTGRESQL_RETRY: Final = (
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock timeout
    "57014",  # statement canceled
    "25P03",  # the server ended a transaction that stood idle
    "57P0",  # the server is shutting down or starting
    "08",  # the connection was lost
)


@contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Turn every database and I/O error inside into a StoreError that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except (DBAPIError, PoolTimeoutError, sqlite3.Error, OSError) as error:
        raise to_store_error(error, url) from error
    except Exception as error:
        if not _is_psycopg(error):
            raise
        raise to_store_error(error, url) from error


def to_store_error(error: Exception, url: URL) -> StoreError:
    """The StoreError that says what this database error means and what to do."""
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause, describe(url))
    if _is_psycopg(cause):
        return _from_postgresql(cause, describe(url))
    if isinstance(cause, PoolTimeoutError):
        return StoreBusy(f"database {describe(url)}: no connection became free ({cause})")
    return _from_system(cause, describe(url))


def describe(url: URL) -> str:
    """The database as an operator knows it, without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def _from_sqlite(error: sqlite3.Error, where: str) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(f"database {where}: {error}; another process is writing, try again")
    if primary in _SQLITE_ADVICE:
        return StoreError(f"database {where}: {error}; {_SQLITE_ADVICE[primary]}")
    if "no such table" in str(error) or "no such column" in str(error):
        return StoreError(
            f"database {where}: {error}; the schema is not the expected one, run "
            "`market-maker db upgrade`"
        )
    return StoreError(f"database {where}: {error}; see the error above")


def _from_system(error: BaseException, where: str) -> StoreError:
    code = getattr(error, "errno", None)
    if code in {errno.EACCES, errno.EPERM, errno.EROFS}:
        advice = "the file is read-only; make the file and its folder writable"
    elif code in {errno.ENOSPC, errno.EDQUOT}:
        advice = "the disk is full; free space and start again"
    else:
        advice = "the disk or file system failed; check it and start again"
    return StoreError(f"database {where}: {error}; {advice}")


def _from_postgresql(error: BaseException, where: str) -> StoreError:
    state = getattr(error, "sqlstate", None) or ""
    message = " ".join(str(error).split())
    if state.startswith(_POSTGRESQL_RETRY):
        return StoreBusy(f"database {where}: {message}; try again")
    for prefix, advice in _POSTGRESQL_ADVICE:
        if state.startswith(prefix):
            return StoreError(f"database {where}: {message}; {advice}")
    return _from_connection_failure(message, where, state)


def _from_connection_failure(message: str, where: str, state: str) -> StoreError:
    """A refused connection carries no SQLSTATE, only the server's words."""
    if "does not exist" in message and not state:
        return StoreError(f"database {where}: {message}; create it, or check database.url")
    if "authentication" in message or "no pg_hba.conf entry" in message:
        return StoreError(f"database {where}: {message}; check user and password in database.url")
    if state:
        return StoreError(f"database {where}: {message} ({state}); see the server's log")
    return StoreBusy(f"database {where}: {message}; check that the server runs and can be reached")


def _is_psycopg(error: BaseException) -> bool:
    """Told by its module, because psycopg may not be installed."""
    return any(base.__module__.startswith("psycopg") for base in type(error).__mro__)
