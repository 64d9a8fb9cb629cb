"""
Every error of the product, split by what the caller must do.

MarketMakerError
├── ConfigError              the settings are wrong: exit code 2
├── PreflightRefused         the settings are right but trading would be unsafe: exit code 3
├── InvalidOrder             an order breaks a rule of its instrument before it is sent
├── InvalidTransition        an order was asked to enter a state that it cannot reach
├── InvalidUpdate            a venue or source sent something impossible
├── DuplicateFill            a fill was applied twice
├── TapeError                a recorded tape or scenario is damaged; names file and line
├── StoreError               the database is missing, full, locked, read-only or of another version
│   ├── StoreVersionError    the schema is older or newer than this code
│   └── StoreBusy            a transient lock or serialization failure: retry within the lease
├── LeaseHeld                another process holds the lease: exit code 5
├── Fenced                   another process took over: exit code 5, at once
└── ExchangeError
    ├── ExchangeUnavailable  was not sent: may be retried
    │   └── RateLimited      not sent, or refused before processing; wait `retry_after`
    ├── OrderRejected        the venue said no: do not retry
    │   ├── InsufficientBalance
    │   ├── WouldTake        a post-only order would have taken liquidity
    │   ├── FilterViolation  tick, lot, min notional or max orders
    │   └── UnknownOrder     the venue does not know this order
    └── OutcomeUnknown       may have been sent: ask by client order id, never resend
"""

from datetime import timedelta


class MarketMakerError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(MarketMakerError):
    """The settings are wrong; the message names file, key, expectation and nearest known key."""


class PreflightRefused(MarketMakerError):
    """Trading with these settings would be unsafe; the message says which rule and value."""


class InvalidOrder(MarketMakerError):
    """An order breaks a rule of its instrument. A bug of ours: the caller fixes the order."""

    def __init__(self, client_order_id: str, reason: str) -> None:
        super().__init__(f"order {client_order_id}: {reason}")
        self.client_order_id = client_order_id
        self.reason = reason


class InvalidTransition(MarketMakerError):
    """An order was asked to enter a state that its present state cannot reach."""


class InvalidUpdate(MarketMakerError):
    """A venue or source sent something impossible; the caller counts it and goes on."""


class DuplicateFill(MarketMakerError):
    """A fill was applied to the same books twice; the caller drops the second."""


class TapeError(MarketMakerError):
    """A recorded tape or a scenario is damaged. The message names the file and the line."""


class StoreError(MarketMakerError):
    """The database cannot be used; the message says why and what to do."""


class StoreVersionError(StoreError):
    """The schema is not the one this code knows; run `db upgrade`, or use the newer program."""


class StoreBusy(StoreError):
    """The database was locked or a transaction must be repeated; retry while the lease lasts."""


class LeaseHeld(MarketMakerError):
    """Another process holds this bot's lease. Stop it, or wait until its lease expires."""


class Fenced(MarketMakerError):
    """Another process took this bot over. Nothing may be written or sent any more."""


class ExchangeError(MarketMakerError):
    """Base of what a venue can do to us."""


class ExchangeUnavailable(ExchangeError):
    """The request provably did not reach the venue; it may be retried."""


class RateLimited(ExchangeUnavailable):
    """The venue refused before processing; wait `retry_after` before the next request."""

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OrderRejected(ExchangeError):
    """The venue said no. The same request must not be repeated."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InsufficientBalance(OrderRejected):
    """The account cannot pay for the order; the margin lock starts."""


class WouldTake(OrderRejected):
    """A post-only order would have traded at once."""


class FilterViolation(OrderRejected):
    """The order breaks a filter of the venue (tick, lot, min notional, max orders)."""


class UnknownOrder(OrderRejected):
    """The venue does not know an order of this id."""


class OutcomeUnknown(ExchangeError):
    """The request may have been processed. Ask by client order id; never send it again."""
