"""A bounded memory of things that end."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps values until a time of their own, and at most `size`: what was used longest ago goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Key, now: float) -> Value | None:
        """Return the value unless its time has passed."""
        item = self._items.get(key)
        if item is None:
            return None
        value, until = item
        if now >= until:
            del self._items[key]
            return None
        self._items.move_to_end(key)
        return value

    def put(self, key: Key, value: Value, until: float) -> None:
        """Keep a value until then."""
        self._items[key] = (value, until)
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Forget a value."""
        self._items.pop(key, None)
