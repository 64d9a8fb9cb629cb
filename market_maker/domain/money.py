"""
The one decimal context of every decision.

34 digits are those of IEEE decimal128: products of any price and quantity that a venue can send are
exact, only an average entry price is ever rounded, and always alike on every machine and thread.
"""

from decimal import ROUND_HALF_EVEN, Context, DivisionByZero, InvalidOperation, Overflow

MONEY = Context(
    prec=34,
    rounding=ROUND_HALF_EVEN,
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
