"""Fields of a JSON object, taken out one by one and checked. Knows JSON values; refuses to know what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ApiError(Exception):
    """A request that goes no further: the status, a sentence, and the field that is the cause."""

    def __init__(
        self, status: int, sentence: str, *, param: str | None = None, code: str | None = None, retry: int | None = None
    ) -> None:
        """`retry` is after how many seconds the same may go well."""
        super().__init__(sentence)
        self.status, self.param, self.code, self.retry = status, param, code, retry


def wrong(name: str, kind: str) -> ApiError:
    """What is said of a value of the wrong type or out of range."""
    return ApiError(400, f"{name} must be {kind}.", param=name)


@dataclass(frozen=True)
class Fields:
    """An object's fields. A field that is null isn't there; `where` stands before the names in sentences."""

    values: Mapping[str, Any]
    where: str = ""

    @staticmethod
    def of(value: object, where: str = "") -> Fields:
        """Raises ApiError where it is no object."""
        if not isinstance(value, dict):
            raise wrong(where, "an object") if where else ApiError(400, "The request must be a JSON object.")
        return Fields(value, f"{where}." if where else "")

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def sub(self, name: str) -> Fields:
        """The object in a field; an empty one where there is none."""
        return Fields.of(self.values[name], self.where + name) if self.has(name) else Fields({}, f"{self.where}{name}.")

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong(self.where + name, "text")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.where + name, "true or false")
        return value

    def number(self, name: str, low: float, high: float, *, whole: bool = False) -> Any:
        """The number as it was written, or None."""
        value = self.values.get(name)
        if value is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)  # NaN lies between no two numbers
        if not number or not low <= value <= high or (whole and value != int(value)):
            raise wrong(
                self.where + name, f"{'a whole number' if whole else 'a number'} from {low:.15g} to {high:.15g}"
            )
        return int(value) if whole else value
