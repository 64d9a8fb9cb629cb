"""
A second process that holds a lease: `python -m tests.contract.store.lease_holder URL BOT TTL_S`.

It prints `held TOKEN`, then answers each line on its input (`renew`, `record N`, `release`) with
`ok` or the name of the error.
"""

import asyncio
import sys
from datetime import timedelta

from market_maker.adapters.store.store import SqlStore
from market_maker.adapters.system import SystemClock
from market_maker.domain.errors import MarketMakerError
from market_maker.ports.store import Lease
from tests.store_builders import a_recording, a_status_change


async def main(url: str, bot: str, ttl_s: str) -> None:
    store = SqlStore(url, bot, SystemClock())
    await store.open()
    ttl = timedelta(seconds=float(ttl_s))
    lease = await store.acquire_lease(holder=f"{bot}-holder", ttl=ttl)
    await store.ensure_lanes(1, token=lease.token)
    print(f"held {lease.token}", flush=True)
    for line in sys.stdin:
        print(await answer(store, lease, ttl, line.split()), flush=True)


async def answer(store: SqlStore, lease: Lease, ttl: timedelta, words: list[str]) -> str:
    try:
        match words:
            case ["renew"]:
                await store.renew_lease(lease, ttl=ttl)
            case ["record", sequence]:
                number = int(sequence)
                store.record(a_recording(number, a_status_change(number), token=lease.token))
            case ["release"]:
                await store.release_lease(lease)
            case _:
                return f"unknown: {words}"
    except MarketMakerError as error:
        return type(error).__name__.lower()
    return "ok"


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
