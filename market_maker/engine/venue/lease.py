"""
The lease as the running process sees it, and the permit that checks it before every send.

`LeaseKeeper` renews well before the end and ends the process when it cannot. A `Permit` is asked
immediately before the socket: it refuses a request whose deadline has passed, and ends the process
when the lease would not outlast the request's lifetime, for then another process might be sending.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog

from market_maker.domain.errors import ExchangeUnavailable, Fenced, StoreError
from market_maker.engine.crash import end_process
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Lifetime
from market_maker.ports.failpoints import failpoint
from market_maker.ports.store import Lease, Store

MARGIN: Final = timedelta(milliseconds=500)
RENEWALS_PER_TTL: Final = 4

_log = structlog.stdlib.get_logger(__name__)


class LeaseKeeper:
    """Holds the lease while the process lives."""

    def __init__(self, store: Store, clock: Clock, *, holder: str, ttl: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._ttl = ttl
        self._lease: Lease | None = None
        self._deadline = 0.0

    @property
    def token(self) -> int:
        """The fencing token that every write carries."""
        if self._lease is None:
            raise Fenced("no lease is held")
        return self._lease.token

    @property
    def remaining(self) -> timedelta:
        """How long the lease still lasts, on a clock that also counts sleep."""
        return timedelta(seconds=self._deadline - self._clock.boottime())

    @property
    def age(self) -> timedelta:
        """Time since the last renewal."""
        return self._ttl - self.remaining

    async def acquire(self) -> Lease:
        """Take the lease; raises `LeaseHeld`."""
        started = self._clock.boottime()
        self._lease = await self._store.acquire_lease(holder=self._holder, ttl=self._ttl)
        self._deadline = started + self._ttl.total_seconds()
        return self._lease

    async def renew_forever(self) -> None:
        """Renew until canceled; a lease that is lost or has run out ends the process."""
        pause = self._ttl.total_seconds() / RENEWALS_PER_TTL
        while True:
            await asyncio.sleep(pause)
            self.check()
            await self._renew()

    def check(self) -> None:
        """End the process if the lease has run out."""
        if self.remaining <= timedelta(0):
            end_process(
                Fenced("the lease ran out while this process was not running"), where="lease"
            )

    async def release(self) -> None:
        """Give the lease back."""
        if self._lease is not None:
            lease, self._lease = self._lease, None
            await self._store.release_lease(lease)

    async def _renew(self) -> None:
        if self._lease is None:
            return
        started = self._clock.boottime()
        try:
            self._lease = await self._store.renew_lease(self._lease, ttl=self._ttl)
            self._deadline = started + self._ttl.total_seconds()
        except Fenced as error:
            end_process(error, where="lease")
        except StoreError as error:
            # The lease still lasts for a while: the next turn tries again, `check` ends it.
            _log.warning("lease_not_renewed", error=str(error), remaining=str(self.remaining))


class Permit:
    """Lets one request leave, if it leaves in time and under a lease that outlasts it."""

    def __init__(
        self,
        keeper: LeaseKeeper,
        clock: Clock,
        *,
        deadline: float,
        lifetime: timedelta,
        clock_offset: timedelta,
    ) -> None:
        self._keeper = keeper
        self._clock = clock
        self._deadline = deadline
        self._lifetime = lifetime
        self._clock_offset = clock_offset
        self.signed: Lifetime | None = None

    def sign(self) -> Lifetime:
        """Stamp the request on the venue's clock; see `ports.exchange.SendPermit`."""
        if self._clock.boottime() > self._deadline:
            raise ExchangeUnavailable("the request was not signed by its deadline")
        # First the signature, then the lease: a process frozen between the two wakes up with a
        # request whose lifetime has passed, not with a fresh one that it has no right to send.
        signed_at: datetime = self._clock.now() + self._clock_offset
        self.signed = Lifetime(signed_at=signed_at, signed_until=signed_at + self._lifetime)
        if self._keeper.remaining < self._lifetime + MARGIN:
            end_process(
                Fenced(f"the lease ends in {self._keeper.remaining}, before the request could"),
                where="place",
            )
        failpoint("place.before_send")
        return self.signed

    def latest(self) -> Lifetime:
        """When the request was signed, or the latest that it can have been."""
        signed_at: datetime = self._clock.now() + self._clock_offset
        return self.signed or Lifetime(signed_at=signed_at, signed_until=signed_at + self._lifetime)
