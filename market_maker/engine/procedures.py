"""
The three steps of an update as plain functions: decide, place, record.

Both drivers call these. Nothing in memory is needed to finish a workflow that another process
started: `record` takes the state of n−1 from the tables and applies the journaled facts to it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import localcontext
from itertools import count
from typing import Any, Final

import structlog

from market_maker.domain.changes import apply_changes
from market_maker.domain.errors import StoreBusy
from market_maker.domain.events import Update
from market_maker.domain.intents import Outcome
from market_maker.domain.money import MONEY
from market_maker.domain.order import derive_client_order_id
from market_maker.domain.position import Position
from market_maker.domain.settings import DecisionSettings
from market_maker.domain.strategies.base import Strategy
from market_maker.domain.strategies.registry import strategy_for
from market_maker.domain.symbol import SymbolChanges, SymbolState
from market_maker.engine import records
from market_maker.engine.actor import apply_outcomes, decide, park
from market_maker.engine.deciding.account import AccountActor
from market_maker.engine.deciding.draft import Stamp
from market_maker.engine.deciding.given import ActorDecision, ActorInput
from market_maker.engine.records import Batch, Decision, Record
from market_maker.engine.venue.lease import LeaseKeeper
from market_maker.engine.venue.placing import Placer
from market_maker.ports.failpoints import failpoint
from market_maker.ports.metrics import Metric, Metrics
from market_maker.ports.store import JournalEntry, Recording, Store

RECORD_RETRY_S: Final = 0.02

_log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class Pending:
    """What a workflow has decided in this process and not recorded yet."""

    batch: Batch
    decision: Decision
    states: dict[str, SymbolState]


class Turn:
    """
    A writer's turn: on SQLite one lane at a time writes, and gives its turn up while it waits
    for the venue. Without a lock every lane goes at once.
    """

    def __init__(self, lock: asyncio.Lock | None) -> None:
        self._lock = lock

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the turn."""
        if self._lock is None:
            yield
            return
        async with self._lock:
            yield

    @asynccontextmanager
    async def given_up(self) -> AsyncIterator[None]:
        """Give the held turn up for the duration."""
        if self._lock is None or not self._lock.locked():
            yield
            return
        self._lock.release()
        try:
            yield
        finally:
            await self._lock.acquire()


@dataclass(slots=True)
class Procedures:
    """
    One bot's steps and the states they work on; `states` is swapped only after a recording.

    `hosted` are the symbols of each lane, `pending` what is decided and not committed, `marks` the
    workflows that this process started and has not sent for.
    """

    store: Store
    keeper: LeaseKeeper
    placer: Placer
    turn: Turn
    metrics: Metrics
    settings: dict[int, DecisionSettings]
    states: dict[str, SymbolState]
    account: AccountActor
    snapshot_every: int
    hosted: dict[int, tuple[str, ...]] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    strategies: dict[tuple[int, str], Strategy] = field(default_factory=dict)

    # --- decide ---

    def decide(self, record: Mapping[str, Any]) -> Record:
        """Fold the batch on the recorded states; keeps the new states aside until recorded."""
        started = time.perf_counter()
        failpoint("decide.begin")
        batch = records.decode_batch(record)
        with localcontext(MONEY):
            decision, states = self._decide(batch)
        self.pending[batch.workflow_id] = Pending(batch, decision, states)
        self.metrics.observe(Metric.STEP_LATENCY, time.perf_counter() - started, step="decide")
        return records.encode_decision(decision)

    def _decide(self, batch: Batch) -> tuple[Decision, dict[str, SymbolState]]:
        settings = self.settings[batch.settings_version]
        stamp = self._stamp(batch)
        numbers = count()
        states: dict[str, SymbolState] = {}
        decisions: list[ActorDecision] = []
        notices: list[records.Notice] = []
        for symbol, updates in _by_symbol(batch).items():
            if symbol not in settings.symbols:
                if symbol != AccountActor.SYMBOL:
                    notices.append(_unknown_symbol(symbol, updates))
                continue
            given = self._actor_input(
                batch, settings, stamp=stamp, symbol=symbol, updates=updates, numbers=numbers
            )
            state = self.states.get(symbol) or new_state(symbol)
            try:
                made = decide(state, given)
            except Exception as error:  # noqa: BLE001  # reason: an actor's top: park it, spare the others
                _log.error("actor_failed", symbol=symbol, exc_info=error)
                made = park(state, error, stamp, given)
            states[symbol] = made.state
            decisions.append(made)
        account, grants = self.account.decide(batch, settings)
        decision = Decision(
            cancels=tuple(c for made in decisions for c in made.cancels),
            places=tuple(p for made in decisions for p in made.places),
            refusals=tuple(r for made in decisions for r in made.refusals),
            notices=(*notices, *(n for made in decisions for n in made.notices)),
            changes=tuple(made.changes for made in decisions if made.changes is not None),
            account=account,
            grants=grants,
        )
        return decision, states

    def _actor_input(
        self,
        batch: Batch,
        settings: DecisionSettings,
        *,
        stamp: Stamp,
        symbol: str,
        updates: list[Update],
        numbers: "count[int]",
    ) -> ActorInput:
        def next_client_order_id() -> str:
            return derive_client_order_id(
                tag=settings.tag,
                bot=batch.bot,
                epoch=settings.epoch,
                lane=batch.lane,
                sequence=batch.sequence,
                index=next(numbers),
            )

        return ActorInput(
            settings=settings.symbols[symbol],
            strategy=self._strategy(batch.settings_version, symbol),
            stamp=stamp,
            updates=updates,
            skipped_count=batch.skipped.get(symbol, 0),
            loaded={o.client_order_id: o for o in batch.loaded if o.symbol == symbol},
            symbols_allowed=settings.account.symbols_allowed,
            is_account_dedicated=settings.is_account_dedicated,
            next_client_order_id=next_client_order_id,
        )

    # --- place ---

    async def place(self, record: Mapping[str, Any], decided: Mapping[str, Any]) -> list[Record]:
        """Send if this process started the workflow and has not sent yet; else only ask."""
        started = time.perf_counter()
        workflow_id = _workflow_id(record)
        decision = records.decode_decision(decided)
        is_first = workflow_id in self.marks
        self.marks.discard(workflow_id)
        async with self.turn.given_up():
            if is_first:
                outcomes = await self.placer.send(decision)
            else:
                outcomes = await self.placer.ask(decision)
        failpoint("place.end")
        self.metrics.observe(Metric.STEP_LATENCY, time.perf_counter() - started, step="place")
        for outcome in outcomes:
            self.metrics.count(Metric.ORDERS, action=outcome.action, outcome=outcome.kind.value)
        return records.encode_outcomes(outcomes)

    # --- record ---

    def record(
        self,
        record: Mapping[str, Any],
        decided: Mapping[str, Any],
        answered: Sequence[Mapping[str, Any]],
    ) -> Record:
        """Write what changed in one transaction; a workflow recorded twice changes nothing."""
        started = time.perf_counter()
        workflow_id = _workflow_id(record)
        pending = self.pending.get(workflow_id) or self._reload(record, decided)
        outcomes = records.decode_outcomes(answered)
        with localcontext(MONEY):
            states, changes = self._settle(pending, outcomes)
        payloads = (record, decided, answered)
        recording = self._recording(pending, payloads=payloads, states=states, changes=changes)
        chain = self._write(recording)
        pending.states = states
        self.pending[workflow_id] = pending
        self.metrics.observe(Metric.STEP_LATENCY, time.perf_counter() - started, step="record")
        return {"version": 1, "chain": chain}

    def commit(self, workflow_id: str) -> Pending:
        """Make the recorded states the current ones; called after the workflow returned."""
        pending = self.pending.pop(workflow_id)
        self.marks.discard(workflow_id)
        self.states.update(pending.states)
        self.account.commit(pending.decision.account)
        return pending

    def _reload(self, record: Mapping[str, Any], decided: Mapping[str, Any]) -> Pending:
        """Another process decided: apply its journaled facts to the state of n−1."""
        batch = records.decode_batch(record)
        decision = records.decode_decision(decided)
        states = {
            changes.symbol: apply_changes(
                self.states.get(changes.symbol) or new_state(changes.symbol), changes
            )
            for changes in decision.changes
        }
        return Pending(batch, decision, states)

    def _settle(
        self, pending: Pending, outcomes: tuple[Outcome, ...]
    ) -> tuple[dict[str, SymbolState], tuple[SymbolChanges, ...]]:
        """Fold the venue's answers into the decided states."""
        states = dict(pending.states)
        changes = {c.symbol: c for c in pending.decision.changes}
        settings = self.settings[pending.batch.settings_version]
        stamp = self._stamp(pending.batch)
        for symbol in dict.fromkeys(outcome.symbol for outcome in outcomes):
            if symbol not in states:
                continue
            states[symbol], merged = apply_outcomes(
                states[symbol],
                changes.get(symbol),
                [outcome for outcome in outcomes if outcome.symbol == symbol],
                settings=settings.symbols[symbol],
                strategy=self._strategy(pending.batch.settings_version, symbol),
                stamp=stamp,
            )
            if merged is not None:
                changes[symbol] = merged
        return states, tuple(changes.values())

    def _recording(
        self,
        pending: Pending,
        *,
        payloads: tuple[Any, Any, Any],
        states: Mapping[str, SymbolState],
        changes: tuple[SymbolChanges, ...],
    ) -> Recording:
        batch = pending.batch
        input_digest, decision_digest, outcomes_digest = map(records.digest, payloads)
        snapshot = None
        if batch.sequence % self.snapshot_every == 0:
            hosted = {symbol: self.states[symbol] for symbol in self.hosted.get(batch.lane, ())}
            snapshot = {s: records.to_record(state) for s, state in {**hosted, **states}.items()}
        return Recording(
            entry=JournalEntry(
                lane=batch.lane,
                sequence=batch.sequence,
                workflow_id=batch.workflow_id,
                settings_version=batch.settings_version,
                now=batch.now,
                update_count=len(batch.updates),
                input_digest=input_digest,
                decision_digest=decision_digest,
                outcomes_digest=outcomes_digest,
                state_digest=records.state_digest(states),
            ),
            token=self.keeper.token,
            changes=changes,
            snapshot=snapshot,
            account=pending.decision.account,
        )

    def _write(self, recording: Recording) -> str:
        """Repeat what the database could not do just now, while the lease lasts."""
        while True:
            try:
                return self.store.record(recording)
            except StoreBusy:
                if self.keeper.remaining <= timedelta(0):
                    raise
                time.sleep(RECORD_RETRY_S)

    # --- loading ---

    async def load_settings(self, version: int) -> None:
        """Have the settings that a journaled batch names."""
        if version not in self.settings:
            payload = await self.store.load_settings(version)
            self.settings[version] = records.from_record(dict(payload), DecisionSettings)

    async def load_states(self, symbols: Iterable[str]) -> None:
        """Take the state of symbols from the tables."""
        for symbol in symbols:
            state = await self.store.load_symbol_state(symbol)
            self.states[symbol] = state if state is not None else new_state(symbol)
        account = await self.store.load_account(AccountActor.SYMBOL)
        self.account.commit(dict(account) if account is not None else None)

    # --- shared ---

    def _stamp(self, batch: Batch) -> Stamp:
        return Stamp(
            bot=batch.bot,
            tag=self.settings[batch.settings_version].tag,
            lane=batch.lane,
            sequence=batch.sequence,
            workflow_id=batch.workflow_id,
            now=batch.now,
        )

    def _strategy(self, version: int, symbol: str) -> Strategy:
        key = (version, symbol)
        if key not in self.strategies:
            self.strategies[key] = strategy_for(self.settings[version].symbols[symbol].strategy)
        return self.strategies[key]


def new_state(symbol: str) -> SymbolState:
    """The state of a symbol that was never recorded."""
    return SymbolState(symbol=symbol, position=Position(symbol=symbol))


def _by_symbol(batch: Batch) -> dict[str, list[Update]]:
    """Updates of each symbol in order; commands to all ("") are spread by the lane, not here."""
    groups: dict[str, list[Update]] = {}
    for update in batch.updates:
        group = groups.get(update.symbol)
        if group is None:
            groups[update.symbol] = [update]
        else:
            group.append(update)
    for symbol in batch.skipped:
        groups.setdefault(symbol, [])
    return groups


def _unknown_symbol(symbol: str, updates: Iterable[Update]) -> records.Notice:
    first = next(iter(updates), None)
    return records.Notice(symbol=symbol, name="unknown_symbol", content=str(first)[:1000])


def _workflow_id(record: Mapping[str, Any]) -> str:
    return f"{record['bot']}/{record['lane']}/{record['sequence']:09d}"
