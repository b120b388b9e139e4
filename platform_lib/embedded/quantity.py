"""How much is a Kubernetes quantity, and how does Kubernetes write it? Pure arithmetic."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL_NAMES = {power: name for name, power in _DECIMAL.items()}
_NANO = Decimal("1e-9")


def parse_quantity(value: Any) -> Decimal:
    """Return the amount (cores, bytes, ...) of a quantity.

    Args:
        value: ``500m``, ``1.5Gi``, ``1e3`` or a number.

    Raises:
        ValueError: Not a quantity.

    Source: Kubernetes API conventions, resource.Quantity.

    Example:
        >>> parse_quantity("500m")
        Decimal('0.500')
    """
    text = str(value)
    number, suffix = _split(text)
    try:
        amount = Decimal(number)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a quantity") from None
    if suffix in _BINARY:
        return amount * Decimal(1024 ** _BINARY[suffix])
    if suffix in _DECIMAL:
        return amount.scaleb(_DECIMAL[suffix])
    raise ValueError(f"{text!r} is not a quantity: unknown suffix {suffix!r}")


def _split(text: str) -> tuple[str, str]:
    """Part ``1.5Gi`` into number and suffix; an exponent belongs to the number."""
    if text[-2:] in _BINARY:
        return text[:-2], text[-2:]
    if text[-1:] in _DECIMAL and text[-1:]:
        return text[:-1], text[-1:]
    return text, ""


def canonical_quantity(value: Any) -> str:
    """Return a quantity as Kubernetes writes it back: no fraction, the largest exact suffix.

    Text that is not a quantity comes back unchanged (the type check has already spoken of it).

    Example:
        >>> canonical_quantity("0.5"), canonical_quantity("1024Mi"), canonical_quantity(2)
        ('500m', '1Gi', '2')
    """
    text = str(value)
    try:
        amount = parse_quantity(text)
    except ValueError:
        return text
    suffix = _split(text)[1]
    if suffix in _BINARY and (abs(amount) >= 1024 or amount == 0):
        return _binary(amount)
    if "e" in text or "E" in text[:-1]:
        return _exponent(amount)
    return _decimal(amount)


def _binary(amount: Decimal) -> str:
    if amount != amount.to_integral_value():
        return _decimal(amount)
    number = int(amount)
    power = 0
    while number and number % 1024 == 0 and power < 6:
        number, power = number // 1024, power + 1
    return f"{number}{next((name for name, step in _BINARY.items() if step == power), '')}"


def _thousands(amount: Decimal) -> tuple[int, int]:
    """Return (whole number, power of ten divisible by three) with the largest such power."""
    number, power = int((amount / _NANO).to_integral_value(ROUND_CEILING)), -9
    while number and number % 1000 == 0 and power < 18:
        number, power = number // 1000, power + 3
    return number, power if number else 0


def _decimal(amount: Decimal) -> str:
    number, power = _thousands(amount)
    return f"{number}{_DECIMAL_NAMES[power]}"


def _exponent(amount: Decimal) -> str:
    number, power = _thousands(amount)
    return f"{number}e{power}" if power else str(number)
