"""
Operator intents and what they do to one symbol; pure and idempotent.

`pause` keeps resting orders and places nothing new. `cancel-all` implies pause and cancels until
nothing of ours rests. `kill` is the same and stays until `resume`. An incident is ended by
`adopt` (the venue is right), `ignore` (our books are right) or `flatten` (cancel and give the
position back).
"""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Final

from market_maker.domain.events import CommandIssued
from market_maker.domain.ledger import LedgerEntry
from market_maker.domain.order import OrderState, transition
from market_maker.domain.strategies.grid import rebuild
from market_maker.domain.symbol import NO_ALLOWANCE, Incident, SymbolMode
from market_maker.engine.deciding.comparing import ORDER_VANISHED, POSITION_MISMATCH
from market_maker.engine.deciding.draft import Draft

PAUSE: Final = "pause"
RESUME: Final = "resume"
CANCEL_ALL: Final = "cancel-all"
KILL: Final = "kill"
ADOPT: Final = "adopt"
IGNORE: Final = "ignore"
FLATTEN: Final = "flatten"

# Not the operator's: what the engine itself tells every symbol when it starts and stops.
START: Final = "start"
STOP: Final = "stop"
OBSERVE: Final = "observe"
RETIRE: Final = "retire"
REBUILD: Final = "rebuild:"

COMMANDS_REMEMBERED: Final = 8
COMMAND_NAMES: Final = (PAUSE, RESUME, CANCEL_ALL, KILL, ADOPT, IGNORE, FLATTEN)


def apply_command(draft: Draft, command: CommandIssued) -> None:
    """Do to one symbol what the operator asked; a command that is taken up again does nothing."""
    if _is_repeated(draft, command.command_id):
        return
    match command.name:
        case "start":
            _start(draft, command.argument)
        case "stop":
            draft.status = replace(draft.status, is_canceling=True)
        case "pause":
            draft.status = replace(draft.status, is_paused=True)
        case "resume":
            _resume(draft)
        case "cancel-all":
            draft.status = replace(draft.status, is_paused=True, is_canceling=True)
        case "kill":
            draft.status = replace(draft.status, is_killed=True, is_canceling=True)
        case "adopt" | "ignore" | "flatten":
            _end_incident(draft, command)
        case _:
            draft.reject_update("unknown_command", command.name)


def _is_repeated(draft: Draft, command_id: str) -> bool:
    """
    Whether this symbol has carried the command out; remembers it from now on.

    A crash may come between the recording and the mark in the commands table. Without this a
    resume that is taken up again would undo the kill that followed it.
    """
    recent = draft.status.recent_command_ids
    if not command_id or command_id in recent:
        return bool(command_id)
    remembered = (*recent, command_id)[-COMMANDS_REMEMBERED:]
    draft.status = replace(draft.status, recent_command_ids=remembered)
    return False


def _start(draft: Draft, argument: str) -> None:
    """
    Trust nothing until the venue has been read and the account has granted anew.

    Prices of before are forgotten, so nothing is planned on them; orders that rest have until
    `book_age_max` from now to be confirmed by a new price.
    """
    status = draft.status
    if argument != OBSERVE:
        draft.market = replace(
            draft.market, bid=None, ask=None, last_price=None, updated_at=draft.now
        )
    draft.status = replace(
        status,
        mode=SymbolMode.PARKED if status.mode is SymbolMode.PARKED else SymbolMode.SYNCING,
        syncing_since=draft.now,
        is_canceling=argument == RETIRE
        or (status.is_canceling and (status.is_paused or status.is_killed)),
        is_observing=argument == OBSERVE,
        hold_until=None,
    )
    draft.allowance = NO_ALLOWANCE
    if argument.startswith(REBUILD):
        _rebuild(draft, json.loads(argument.removeprefix(REBUILD)))


def rebuild_argument(*, quantity: Decimal, price: Decimal, last_trade_id: str) -> str:
    """The argument of a START that rebuilds the books from what the venue holds."""
    found = {"quantity": str(quantity), "price": str(price), "last_trade_id": last_trade_id}
    return REBUILD + json.dumps(found)


def _rebuild(draft: Draft, found: dict[str, str]) -> None:
    """The database was lost: take the venue's position, spread it over slots, forget the cost."""
    draft.status = replace(draft.status, last_trade_id=found["last_trade_id"])
    _take_position(
        draft, Decimal(found["quantity"]), Decimal(found["price"]), booking=f"rebuild:{draft.now}"
    )


def _resume(draft: Draft) -> None:
    draft.status = replace(
        draft.status,
        mode=SymbolMode.SYNCING,
        syncing_since=draft.now,
        is_paused=False,
        is_killed=False,
        is_canceling=False,
        is_flattening=False,
        hold_until=None,
    )
    if draft.risk.breaker:
        draft.risk = replace(draft.risk, breaker="", breaker_opened_at=None)


def _end_incident(draft: Draft, command: CommandIssued) -> None:
    if command.name == FLATTEN and draft.status.is_killed:
        draft.reject_update("flatten_refused", "nothing is sent while killed: resume first")
        return
    incident = draft.close_incident(command.argument, command.name)
    if incident is None:
        return
    if incident.kind == ORDER_VANISHED:
        _end_vanished(draft, incident)
    elif incident.kind == POSITION_MISMATCH:
        _end_mismatch(draft, incident, command.name)
    if command.name == FLATTEN:
        # The newest word counts: a cancel-all of before is part of it, one of later stops it.
        draft.status = replace(draft.status, is_flattening=True, is_canceling=False)
    # Whatever was decided, the venue is read again before anything is quoted.
    draft.start_syncing()


def _end_vanished(draft: Draft, incident: Incident) -> None:
    """Whatever the word: an order that its venue does not know cannot trade, so it has ended."""
    order = draft.orders.get(incident.content.rsplit(" ", 1)[-1])
    if order is not None:
        ended = replace(order, reported_state=None, reason="lost by the venue")
        draft.put_order(transition(ended, OrderState.CANCELED))


def _end_mismatch(draft: Draft, incident: Incident, word: str) -> None:
    """
    Adopt takes the venue's quantity as ours; flatten too, for only that can be given back.

    Ignore accepts this very difference: another one opens the next incident.
    """
    holds, says = incident.content.split("the venue holds ", 1)[1].split(", our fills say ")
    if word == IGNORE:
        draft.status = replace(draft.status, difference_ignored=Decimal(holds) - Decimal(says))
    else:
        _adopt_position(draft, Decimal(holds))


def _adopt_position(draft: Draft, quantity: Decimal) -> None:
    price = draft.market.price or draft.position.average_entry_price
    _take_position(draft, quantity, price, booking=f"adopt:{draft.stamp.workflow_id}")


def _take_position(draft: Draft, quantity: Decimal, price: Decimal, *, booking: str) -> None:
    """Book the difference to what the venue holds, and spread the quantity over slots anew."""
    difference = quantity - draft.position.quantity
    for account, amount in (("inventory", difference), ("venue", -difference)):
        draft.ledger.append(
            LedgerEntry(
                symbol=draft.old.symbol,
                trade_id=booking,
                client_order_id="",
                account=account,
                asset=draft.instrument.base_asset,
                amount=amount,
            )
        )
    draft.position = replace(draft.position, quantity=quantity, average_entry_price=price)
    draft.strategy = rebuild(
        draft.settings.strategy,
        draft.strategy,
        quantity=quantity,
        price=price,
        instrument=draft.instrument,
    )
