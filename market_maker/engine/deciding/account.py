"""The account actor in its lane: balances in, allowances out; its state is one record."""

from typing import Any, Final

from market_maker.domain.account import AccountState, grant, observe_balances
from market_maker.domain.events import BalancesTaken
from market_maker.domain.settings import DecisionSettings
from market_maker.engine import records
from market_maker.engine.records import Batch, Record

Grants = tuple[tuple[str, Record], ...]


class AccountActor:
    """Owns what belongs to no symbol; pure but for the committed state it holds."""

    SYMBOL: Final = "@account"

    def __init__(self, state: AccountState) -> None:
        self.state = state

    def decide(self, batch: Batch, settings: DecisionSettings) -> tuple[Record | None, Grants]:
        """Fold the batch's balances and say which allowances follow; None if nothing came."""
        taken = [update for update in batch.updates if isinstance(update, BalancesTaken)]
        if not taken:
            return None, ()
        state = self.state
        for update in taken:
            state = observe_balances(state, update, now=batch.now)
        quoted = tuple(sorted(set(settings.symbols) - set(settings.retired)))
        state, _ = grant(settings.account, quoted, state)
        # All of them, not only those that changed: a symbol forgets its allowance at every start.
        grants = tuple((s, records.to_record(granted)) for s, granted in state.allowances.items())
        return records.to_record(state), grants

    def commit(self, record: dict[str, Any] | None) -> None:
        """Take the recorded state as the current one."""
        if record is not None:
            self.state = records.from_record(record, AccountState)
