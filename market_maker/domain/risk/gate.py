"""
The risk gate: an intent becomes `Approved` or `Refused`, and only an approved one becomes an order.

The intents of one plan are asked in order, and each approved one counts as if it were already at
the venue. The check is pure; what is refused changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from market_maker.domain.intents import PlaceIntent
from market_maker.domain.risk.rules import RULES, Breach, GateContext, Usage, is_reducing

__all__ = ["Approved", "GateContext", "Refused", "Verdict", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An intent that passed every rule; `notional` is its worth in quote at the worst price."""

    intent: PlaceIntent
    notional: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An intent that broke a rule, with the limit and the value that broke it."""

    intent: PlaceIntent
    rule: str
    limit: Decimal | str
    value: Decimal | str


Verdict = Approved | Refused


def check(intents: Sequence[PlaceIntent], context: GateContext) -> tuple[Verdict, ...]:
    """Return one verdict per intent, in order."""
    if not intents:
        return ()
    used = Usage(context)
    return tuple([_judge(intent, context, used) for intent in intents])


def _judge(intent: PlaceIntent, context: GateContext, used: Usage) -> Verdict:
    for rule in RULES:
        breach = rule(intent, context, used)
        if breach is not None:
            return _refuse(intent, breach)
    notional = intent.quantity * used.value_price(intent.side, intent.price)
    if not is_reducing(intent, context, used):
        used.day_notional += notional
    used.add(intent.side, intent.price, intent.quantity, intent.purpose)
    counters = used.counters
    used.counters = replace(counters, sent_count=counters.sent_count + 1)
    return Approved(intent=intent, notional=notional)


def _refuse(intent: PlaceIntent, breach: Breach) -> Refused:
    return Refused(intent=intent, rule=breach.rule, limit=breach.limit, value=breach.value)
