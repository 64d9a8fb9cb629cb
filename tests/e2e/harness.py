"""
Real processes of the installed command, and the audit that holds the bot against the venue.

A `Bot` is a folder: settings, database, the venue's file, logs. Processes are started on it,
killed, frozen and started again; `check` then holds what the database says against what the venue's
own file says. Nothing of the product runs in the test's process, except for reading.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from market_maker.adapters.exchange.simulated.reading import (
    fill_record,
    read_balances,
    read_fills,
    read_orders,
    read_positions,
    read_requests,
)
from market_maker.adapters.store.engines import parse_url
from market_maker.adapters.store.journal import GENESIS, chain_digest
from market_maker.adapters.store.rows import to_journal_entry
from market_maker.domain.errors import ExchangeUnavailable
from market_maker.domain.fill import Fill, Side

T = TypeVar("T")
Json = dict[str, Any]

PATIENCE_S: Final = 60.0
REST_S: Final = 1.0
POLL_S: Final = 0.05
# A process that a test forgot ends by itself.
LIFETIME_MAX: Final = "170s"

BTC: Final = "BTC/USDT"
ETH: Final = "ETH/USDT"
ZERO: Final = Decimal(0)

KILLED: Final = -signal.SIGKILL
CRASHED: Final = 70
FENCED: Final = 5

UNSETTLED: Final = frozenset({"UNKNOWN", "PENDING_NEW", "PENDING_CANCEL"})
NEVER_AT_VENUE: Final = frozenset({"REJECTED", "EXPIRED"})
OPEN_AT_VENUE: Final = frozenset({"OPEN", "PARTIALLY_FILLED"})

FAULTS: Final[Json] = {
    "request_lost_ratio": "0.05",
    "answer_lost_ratio": "0.05",
    "late_answer_ratio": "0.05",
    "late_answer": "500ms",
    "update_duplicated_ratio": "0.05",
    "update_reordered_ratio": "0.05",
    "update_dropped_ratio": "0.05",
    "rate_limit_ratio": "0.02",
    "server_error_ratio": "0.05",
}


def find_command() -> Path:
    """The installed console script, beside the interpreter that runs the tests."""
    command = Path(sys.executable).with_name("market-maker")
    if not command.exists():
        raise FileNotFoundError(f"{command}: install the package first (pip install --editable .)")
    return command


def eventually(look: Callable[[], T], *, what: str = "", within_s: float = PATIENCE_S) -> T:
    """Poll until `look` returns something true; fail after a generous while."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what or look}")
        time.sleep(POLL_S)
    return found


# --- settings ---


def an_instrument(symbol: str, *, start_price: str, step_bps_max: str = "3") -> Json:
    """A market that moves several grid intervals a second and trades partial fills."""
    return {
        "symbol": symbol,
        "kind": "spot",
        "tick_size": "0.01",
        "lot_size": "0.00001",
        "min_notional": "5",
        "maker_fee_ratio": "0.0001",
        "taker_fee_ratio": "0.0005",
        "market": {
            "kind": "random_walk",
            "start_price": start_price,
            "step_bps_max": step_bps_max,
            "trade_quantity_base": "0.003" if symbol.startswith("BTC") else "0.06",
            "ticks": {"kind": "with_volume", "frequency_ms": 40},
        },
    }


def a_symbol(symbol: str) -> Json:
    """A tight grid under limits that do not get in the way."""
    return {
        "symbol": symbol,
        "strategy": {
            "kind": "grid",
            "mode": "long",
            "interval_bps": "4",
            "order_notional_quote": "100",
            "buy_levels_max": 4,
            "sell_levels_max": 4,
            "lower": "100",
            "upper": "1000000",
            "margin_lock": "1s",
            "window_levels": 8,
        },
        "limits": {
            "price_collar_bps": "1000",
            "order_notional_quote_max": "100000",
            "order_quantity_base_max": "100",
            "order_count_per_side_max": 100,
            "position_quantity_base_max": "1000",
            "exposure_notional_quote_max": "1000000",
            "orders_per_minute_max": 1_000_000,
            "rejections_per_minute_max": 1_000_000,
            "daily_notional_quote_max": "1000000000",
        },
    }


def some_settings(database_url: str, folder: Path) -> Json:
    """The settings of an ordinary bot on two symbols."""
    return {
        "bot": "e2e",
        "tag": "e2e",
        "database": {"url": database_url},
        "venue": {
            "adapter": "simulated",
            "name": "paper",
            "file": str(folder / "venue.sqlite"),
            "seed": 7,
            "balances": {"USDT": "1000000", "BTC": "5", "ETH": "50"},
            "while_closed_max": "5s",
            "instruments": [
                an_instrument(BTC, start_price="60000"),
                an_instrument(ETH, start_price="3000"),
            ],
            "faults": {"seed": 1},
        },
        "symbols": [a_symbol(BTC), a_symbol(ETH)],
        "risk": {
            "exposure_notional_quote_max": "1000000",
            "concentration_ratio_max": "1",
            "symbols_allowed": [BTC, ETH],
        },
        "place_wait": "300ms",
        "request_lifetime": "1s",
        "settle_margin": "200ms",
        "reconcile_interval": "2s",
        "book_age_max": "1h",
        "snapshot_every": 50,
        "lease_ttl": "10s",
        "health": {"enabled": False},
        "logging": {"level": "DEBUG", "file": str(folder / "log.jsonl")},
    }


def still(settings: Json) -> Json:
    """
    The same bot on a market that stands still and never errs, so that everything can settle.

    Prices come and trades print, within a hundredth of a grid interval: what rests is not reached.
    """
    calm = deepcopy(settings)
    # A clock that jumped back would make every new price older than the last one.
    skew = settings["venue"]["faults"].get("clock_skew", "0s")
    calm["venue"]["faults"] = {"seed": 1, "clock_skew": skew}
    for instrument in calm["venue"]["instruments"]:
        if "step_bps_max" in instrument["market"]:
            instrument["market"] |= {"step_bps_max": "0.001", "spread_bps": "0.1"}
    return calm


def as_perpetuals(settings: Json) -> Json:
    """The same bot on linear perpetuals, opening both ways."""
    names = {BTC: f"{BTC}:USDT", ETH: f"{ETH}:USDT"}
    other = deepcopy(settings)
    for instrument in other["venue"]["instruments"]:
        instrument |= {"symbol": names[instrument["symbol"]], "kind": "linear"}
    for symbol in other["symbols"]:
        symbol["symbol"] = names[symbol["symbol"]]
        symbol["strategy"]["mode"] = "neutral"
    other["risk"]["symbols_allowed"] = list(names.values())
    return other


def as_neutral(settings: Json) -> Json:
    """The same bot opening both ways, with every fee in the base asset."""
    other = deepcopy(settings)
    for instrument in other["venue"]["instruments"]:
        instrument["fee_asset"] = "base"
    for symbol in other["symbols"]:
        symbol["strategy"]["mode"] = "neutral"
    return other


# --- processes ---


@dataclass(slots=True)
class Process:
    """One process of the command; its output goes to files in the bot's folder."""

    popen: "subprocess.Popen[bytes]"
    stdout: Path
    stderr: Path
    label: str

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def wait(self, *, within_s: float = 2 * PATIENCE_S) -> int:
        """The exit code; negative is the signal that ended it."""
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.label} still runs\n{self.tail()}") from None

    def expect(self, *codes: int) -> None:
        """Wait for the end and check how it came."""
        code = self.wait()
        assert code in codes, f"{self.label}: exit {code}, expected {codes}\n{self.tail()}"

    def send(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel is done with it."""
        self.popen.kill()
        self.popen.wait()

    def is_frozen(self) -> bool:
        """Whether it is stopped by a signal."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def limit_file_size(self, size_bytes: int) -> None:
        """Let every write beyond this size of a file fail from now on, as a bad disk would."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size_bytes, size_bytes))

    def out(self) -> str:
        return self.stdout.read_text()

    def err(self) -> str:
        return self.stderr.read_text()

    def tail(self, line_count: int = 40) -> str:
        return "\n".join(self.err().splitlines()[-line_count:])


@dataclass(slots=True)
class Bot:
    """A bot's folder and everything that is started on it."""

    folder: Path
    settings: Json
    processes: list[Process] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.settings["bot"])

    @property
    def tag(self) -> str:
        return str(self.settings["tag"])

    @property
    def database_url(self) -> str:
        return str(self.settings["database"]["url"])

    @property
    def venue_file(self) -> Path:
        return Path(self.settings["venue"]["file"])

    def write(self, settings: Json | None = None) -> Path:
        """Write settings to a file of this folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(settings or self.settings, indent=1))
        return path

    def start(
        self,
        *arguments: str,
        failpoint: str = "",
        settings: Json | None = None,
        config: Path | None = None,
        command: str = "run",
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start `market-maker run` on the settings; with a failpoint armed if one is named."""
        config = config or self.write(settings)
        if command == "run" and "--for" not in arguments:
            arguments = (*arguments, "--for", LIFETIME_MAX)
        words = [str(find_command()), *command.split(), "--config", str(config), *arguments]
        number = len(self.processes) + 1
        stdout, stderr = self.folder / f"{number}.out", self.folder / f"{number}.err"
        clean = {n: v for n, v in os.environ.items() if not n.startswith("MARKET_MAKER")}
        clean |= {"MARKET_MAKER_FAILPOINT": failpoint} if failpoint else {}
        with stdout.open("wb") as out, stderr.open("wb") as err:
            popen = subprocess.Popen(
                words,
                cwd=cwd or self.folder,
                env=clean | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        label = f"{self.name} #{number} ({command} {' '.join(arguments)} {failpoint})"
        process = Process(popen, stdout, stderr, label)
        self.processes.append(process)
        return process

    def run(self, *arguments: str, code: int = 0, **options: Any) -> Process:
        """Start, wait for the end and check the exit code."""
        process = self.start(*arguments, **options)
        process.expect(code)
        return process

    def crash_at(self, failpoint: str, *arguments: str, **options: Any) -> None:
        """Run until the armed failpoint ends the process in the way that it names."""
        action = failpoint.split(":")[1]
        process = self.start(*arguments, failpoint=failpoint, **options)
        process.expect(KILLED if action == "kill" else CRASHED)

    def settle(self) -> None:
        """
        A last graceful run on a still market without faults, until nothing moves any more.

        Every configured symbol must quote again by then, with no order whose fate is unknown.
        """
        started_at = datetime.now(UTC)
        process = self.start(settings=still(self.settings))
        before: object = None
        since = time.monotonic()

        def is_at_rest() -> bool:
            nonlocal before, since
            now = self._moving_parts(started_at)
            if now is None or now != before:
                before, since = now, time.monotonic()
            return now is not None and time.monotonic() - since > REST_S

        self.until(is_at_rest, what="rest")
        process.send(signal.SIGTERM)
        process.expect(0)

    def _moving_parts(self, started_at: datetime) -> object:
        """What changes while the bot trades; None while it is not back to quoting."""
        wanted = {symbol["symbol"] for symbol in self.settings["symbols"]}
        try:
            with rows(self.database_url) as select:
                quoting = {
                    row["symbol"]
                    for row in select("symbols", self.name)
                    if row["mode"] == "QUOTING" and _synced_at(row) >= started_at
                }
                orders = [
                    (row["client_order_id"], row["state"], row["filled_quantity"])
                    for row in select("orders", self.name, order_by="client_order_id")
                ]
        except DBAPIError:
            return None
        is_unsettled = any(state in UNSETTLED for _, state, _ in orders)
        return None if is_unsettled or not wanted <= quoting else (orders, self.fill_count())

    def command(self, words: str, *arguments: str, code: int = 0, **options: Any) -> str:
        """Run another command to its end and return what it printed."""
        return self.run(*arguments, command=words, code=code, **options).out()

    def close(self) -> None:
        """End every process that is left."""
        for process in self.processes:
            if process.is_running:
                process.kill()

    # --- looking ---

    def log(self) -> Iterator[Json]:
        """Every line of the JSON log, oldest first; a line cut by a kill is left out."""
        for path in sorted(self.folder.glob("log.jsonl*"), reverse=True):
            for line in path.read_text().splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def events(self) -> Counter[str]:
        """How often each event was logged."""
        return Counter(str(entry.get("event", "")) for entry in self.log())

    def open_order_count(self) -> int:
        """Open orders at the venue, by its own file."""
        return len(read_orders(self.venue_file, only_open=True)) if self.has_venue else 0

    def fill_count(self) -> int:
        return len(read_fills(self.venue_file)) if self.has_venue else 0

    def request_count(self) -> int:
        """Place requests that reached the venue."""
        return len(read_requests(self.venue_file)) if self.has_venue else 0

    @property
    def has_venue(self) -> bool:
        """Whether the venue's file has been made; its making is one transaction."""
        try:
            read_balances(self.venue_file)
        except ExchangeUnavailable:
            return False
        return True

    def await_orders(self, count: int = 4) -> None:
        """Wait until the bot quotes."""
        self.until(lambda: self.open_order_count() >= count, what=f"{count} open orders")

    def await_fills(self, more: int = 1) -> None:
        """Wait until so many more fills happened at the venue."""
        wanted = self.fill_count() + more
        self.until(lambda: self.fill_count() >= wanted, what=f"{wanted} fills")

    def until(self, look: Callable[[], T], *, what: str) -> T:
        """Wait for what the newest process does; fail at once if it ended."""
        process = self.processes[-1]

        def look_or_fail() -> T:
            is_running = process.is_running
            found = look()
            assert found or is_running, f"{process.label} ended without {what}\n{process.tail()}"
            return found

        return eventually(look_or_fail, what=f"{process.label}: {what}")

    def sequences(self) -> dict[int, int]:
        """The sequence of each lane, by the database."""
        with rows(self.database_url) as select:
            return {row["lane"]: row["sequence"] for row in select("lanes", self.name)}

    def lose_database(self) -> None:
        """Delete the SQLite database with everything beside it, as an operator's mistake would."""
        path = Path(str(parse_url(self.database_url).database))
        for part in path.parent.glob(f"{path.name}*"):
            part.unlink()


Select = Callable[..., list[Json]]


@contextmanager
def rows(database_url: str) -> Iterator[Select]:
    """Read tables as they are: money and times stay the text that is stored."""
    engine = create_engine(parse_url(database_url))
    with engine.connect() as connection:

        def select(table: str, bot: str, *, order_by: str = "1") -> list[Json]:
            query = text(f"SELECT * FROM {table} WHERE bot = :bot ORDER BY {order_by}")
            return [dict(row) for row in connection.execute(query, {"bot": bot}).mappings()]

        yield select
    engine.dispose()


def _synced_at(symbol: Json) -> datetime:
    """When the symbol last began to compare itself with the venue."""
    since = json.loads(symbol["status"])["syncing_since"]
    return datetime.fromisoformat(since) if since else datetime.fromtimestamp(0, UTC)


# --- the audit ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was compared, and every contradiction in words."""

    counts: Mapping[str, int]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self.counts.items())


SAID: Final[list[str]] = []
"""Counts and seeds, shown at the end of the run whether or not a test failed."""


def say(line: str) -> None:
    print(line)
    SAID.append(line)


def check(bot: Bot, *, label: str = "", is_rebuilt: bool = False) -> Audit:
    """Audit a bot that has settled; prints the counts and fails on the first contradiction."""
    audit = audit_bot(bot, is_rebuilt=is_rebuilt)
    say(f"{label or bot.name}: {audit}")
    assert not audit.problems, "\n".join((str(bot.folder), *audit.problems[:20]))
    return audit


def check_so_far(bot: Bot) -> None:
    """What must hold at every instant, also in the middle of a crash."""
    problems: list[str] = []
    with rows(bot.database_url) as select:
        _audit_requests(bot, {}, problems, is_complete=False)
        _audit_lanes(bot, select, problems)
        _audit_ledger(bot, select, problems)
        venue_fills = {_fill_key(fill) for fill in read_fills(bot.venue_file)}
        problems.extend(
            f"fill {row['trade_id']} is not the venue's"
            for row in select("fills", bot.name)
            if (row["trade_id"], row["client_order_id"]) not in venue_fills
        )
    assert not problems, "\n".join((str(bot.folder), *problems[:20]))


def audit_bot(bot: Bot, *, is_rebuilt: bool = False) -> Audit:
    """
    Compare the bot's database with the venue's file; both must be at rest.

    After a rebuild the books begin with the position that was found: what happened before is not
    asked for.
    """
    problems: list[str] = []
    with rows(bot.database_url) as select:
        orders = {row["client_order_id"]: row for row in select("orders", bot.name)}
        request_count = _audit_requests(bot, orders, problems, is_complete=not is_rebuilt)
        venue_orders = _audit_orders(bot, orders, problems, is_rebuilt=is_rebuilt)
        fill_count = _audit_fills(bot, select, problems, is_rebuilt=is_rebuilt)
        sequence_count = _audit_lanes(bot, select, problems)
        _audit_ledger(bot, select, problems)
        _audit_positions(bot, select, problems, is_rebuilt=is_rebuilt)
        incidents = select("incidents", bot.name)
        problems.extend(
            f"open incident {row['kind']}: {row['content']}"
            for row in incidents
            if row["severity"] == "OPEN" and row["closed_at"] is None
        )
    _audit_venue(bot, problems)
    states = Counter(row["state"] for row in orders.values())
    counts = {
        "processes": len(bot.processes),
        "workflows": sequence_count,
        "requests": request_count,
        "orders": len(orders),
        "venue_orders": venue_orders,
        "fills": fill_count,
        "expired": states["EXPIRED"],
        "rejected": states["REJECTED"],
        "open": states["OPEN"] + states["PARTIALLY_FILLED"],
        "incidents": len(incidents),
        "duplicates": sum("was sent" in problem for problem in problems),
        "problems": len(problems),
    }
    return Audit(counts=counts, problems=tuple(problems))


def _audit_requests(
    bot: Bot, orders: Mapping[str, Json], problems: list[str], *, is_complete: bool
) -> int:
    """No client order id is ever sent twice, and none without the bot knowing."""
    requests = [r for r in read_requests(bot.venue_file) if r.client_order_id.startswith(bot.tag)]
    for client_order_id, count in Counter(r.client_order_id for r in requests).items():
        if count > 1:
            problems.append(f"client order id {client_order_id} was sent {count} times")
    problems.extend(
        f"request {request.client_order_id} is not in the books"
        for request in requests
        if is_complete and request.client_order_id not in orders
    )
    return len(requests)


def _audit_orders(
    bot: Bot, orders: Mapping[str, Json], problems: list[str], *, is_rebuilt: bool
) -> int:
    """Each order has one fate, here and there."""
    seen = set()
    own = [o for o in read_orders(bot.venue_file) if o.client_order_id.startswith(bot.tag)]
    for order in own:
        seen.add(order.client_order_id)
        row = orders.get(order.client_order_id)
        if row is None:
            if not is_rebuilt or order.state.value in OPEN_AT_VENUE:
                problems.append(f"order {order.client_order_id} is not in the books")
            continue
        here = (row["state"], Decimal(row["filled_quantity"]), row["exchange_order_id"])
        there = (order.state.value, order.cumulative_quantity, order.exchange_order_id)
        if here != there:
            problems.append(f"order {order.client_order_id}: books {here}, venue {there}")
        if Decimal(row["cumulative_quantity"]) != order.cumulative_quantity:
            problems.append(f"order {order.client_order_id}: another cumulative quantity")
    for client_order_id, row in orders.items():
        if row["state"] in UNSETTLED:
            problems.append(f"order {client_order_id} is still {row['state']}")
        elif client_order_id not in seen and row["state"] not in NEVER_AT_VENUE:
            problems.append(f"order {client_order_id} is {row['state']}, the venue has none")
    return len(own)


def _audit_fills(bot: Bot, select: Select, problems: list[str], *, is_rebuilt: bool) -> int:
    """Every fill once, to the last digit."""
    booked = {(row["trade_id"], row["client_order_id"]): row for row in select("fills", bot.name)}
    traded = {
        _fill_key(fill): fill
        for fill in read_fills(bot.venue_file)
        if fill.client_order_id.startswith(bot.tag)
    }
    known = {row["client_order_id"] for row in select("orders", bot.name)}
    for key, fill in traded.items():
        row = booked.get(key)
        if row is None:
            if not is_rebuilt or fill.client_order_id in known:
                problems.append(f"fill {key} was lost: {fill}")
        elif _fill_values(row) != (fill.price, fill.quantity, fill.fee, fill.fee_asset):
            problems.append(f"fill {key} differs: {row}")
    problems.extend(f"fill {key} never happened" for key in booked.keys() - traded.keys())
    return len(booked)


def _audit_lanes(bot: Bot, select: Select, problems: list[str]) -> int:
    """Journal rows 1 … n in each lane, chained, and the lane is at n."""
    lanes = {row["lane"]: row["sequence"] for row in select("lanes", bot.name)}
    chains: dict[int, str] = defaultdict(lambda: GENESIS)
    counts: Counter[int] = Counter()
    for row in select("journal", bot.name, order_by="lane, sequence"):
        lane = row["lane"]
        counts[lane] += 1
        if row["sequence"] != counts[lane]:
            problems.append(f"lane {lane}: journal row {counts[lane]} is missing")
            break
        if row["workflow_id"] != f"{bot.name}/{lane}/{row['sequence']:09d}":
            problems.append(f"lane {lane}: row {row['sequence']} is of {row['workflow_id']}")
        chains[lane] = chain_digest(chains[lane], bot.name, to_journal_entry(row))
        if chains[lane] != row["chain"]:
            problems.append(f"lane {lane}: the chain breaks at {row['sequence']}")
            break
    for lane, sequence in lanes.items():
        if counts[lane] != sequence:
            problems.append(f"lane {lane} is at {sequence}, its journal at {counts[lane]}")
    return counts.total()


def _audit_ledger(bot: Bot, select: Select, problems: list[str]) -> None:
    """What one account gained another lost, in every asset and for every fill."""
    sums: dict[tuple[str, str, str], Decimal] = defaultdict(lambda: ZERO)
    for row in select("ledger", bot.name):
        sums[row["trade_id"], row["client_order_id"], row["asset"]] += Decimal(row["amount"])
    problems.extend(f"ledger of {key} is off by {total}" for key, total in sums.items() if total)


def _audit_positions(bot: Bot, select: Select, problems: list[str], *, is_rebuilt: bool) -> None:
    """Position = fills = inventory = what the slots hold and the dust."""
    moved: dict[str, Decimal] = defaultdict(lambda: ZERO)
    if is_rebuilt:
        # Also what the lost books had booked.
        for fill in read_fills(bot.venue_file):
            is_own = fill.client_order_id.startswith(bot.tag)
            moved[fill.symbol] += _base_change(fill_record(fill)) if is_own else ZERO
    else:
        for row in select("fills", bot.name):
            moved[row["symbol"]] += _base_change(row)
    inventory: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in select("ledger", bot.name):
        if row["account"] == "inventory":
            inventory[row["symbol"]] += Decimal(row["amount"])
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in select("grid_slots", bot.name):
        held[row["symbol"]] += Decimal(row["holding"])
        is_claimed = row["client_order_id"] or row["state"] != "FREE"
        if is_claimed and not row["is_live"]:
            problems.append(f"slot {row['key']} is claimed but not live")
    for row in select("symbols", bot.name):
        memory = json.loads(row["memory"] or "{}")
        held[row["symbol"]] += Decimal(memory.get("dust_quantity", "0"))
    for row in select("positions", bot.name):
        symbol, quantity = row["symbol"], Decimal(row["quantity"])
        facts = {
            "fills": moved[symbol],
            "ledger": inventory[symbol],
            "slots and dust": held[symbol],
        }
        for name, value in facts.items():
            if value != quantity:
                problems.append(f"{symbol}: position {quantity}, {name} {value}")


def _audit_venue(bot: Bot, problems: list[str]) -> None:
    """The venue itself conserves: its fills give what it says it holds."""
    totals = {a: Decimal(q) for a, q in bot.settings["venue"]["balances"].items()}
    positions: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for fill in read_fills(bot.venue_file):
        sign = 1 if fill.side is Side.BUY else -1
        positions[fill.symbol] += sign * fill.quantity
        if ":" not in fill.symbol:
            base, quote = fill.symbol.split("/")
            totals[base] += sign * fill.quantity
            totals[quote] -= sign * fill.quantity * fill.price
            totals[fill.fee_asset] -= fill.fee
    if not any(":" in symbol for symbol in positions):
        problems.extend(
            f"the venue's {balance.asset} is not what its fills say"
            for balance in read_balances(bot.venue_file)
            if balance.free + balance.locked != totals[balance.asset]
        )
    held = {position.symbol: position.quantity for position in read_positions(bot.venue_file)}
    problems.extend(
        f"the venue's position of {symbol} is not what its fills say"
        for symbol, quantity in positions.items()
        if ":" in symbol and held.get(symbol, ZERO) != quantity
    )


def _fill_key(fill: Fill) -> tuple[str, str]:
    return fill.trade_id, fill.client_order_id


def _fill_values(row: Json) -> tuple[Decimal, Decimal, Decimal, str]:
    return (
        Decimal(row["price"]),
        Decimal(row["quantity"]),
        Decimal(row["fee"]),
        row["fee_asset"],
    )


def _base_change(row: Mapping[str, Any]) -> Decimal:
    quantity = Decimal(row["quantity"]) if row["side"] == "BUY" else -Decimal(row["quantity"])
    is_base = row["fee_asset"] == row["symbol"].split("/")[0]
    return quantity - Decimal(row["fee"]) if is_base else quantity


# --- randomness ---


def a_seed() -> int:
    """A new seed, or the one to repeat (CRASH_SEED); always printed."""
    seed = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    say(f"CRASH_SEED={seed}")
    return seed
