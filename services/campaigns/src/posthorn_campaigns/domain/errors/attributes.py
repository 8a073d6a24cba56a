"""What can be wrong with attributes of contacts.

NotFound         AttributeNotFound
Conflict         AttributeExists, AttributeInUse, TooManyDeclarations, TooManyIndexed
Invalid          InvalidAttributes, AttributesDoNotFit, AttributeNotIndexable
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posthorn_campaigns.domain.errors.kinds import Conflict, Invalid, NotFound


class AttributeNotFound(NotFound):
    """There is no such declaration."""

    code, noun = "attribute_not_found", "attribute"


class AttributeExists(Conflict):
    """An attribute of this key is declared."""

    code = "attribute_exists"

    def __init__(self, key: str) -> None:
        super().__init__(f"The attribute {key} is declared already.")


class AttributeInUse(Conflict):
    """A segment asks for the attribute."""

    code = "attribute_in_use"

    def __init__(self) -> None:
        super().__init__("A segment uses this attribute.")


class TooManyDeclarations(Conflict):
    """No more attributes can be declared."""

    code = "too_many_declarations"

    def __init__(self, limit: int) -> None:
        super().__init__(f"An organisation can declare up to {limit} attributes.")


class TooManyIndexed(Conflict):
    """No more attributes can be indexed."""

    code = "too_many_indexed"

    def __init__(self, limit: int) -> None:
        super().__init__(f"An organisation can have up to {limit} indexed attributes.")


class InvalidAttributes(Invalid):
    """Attributes of a contact that cannot be stored or used."""

    code = "invalid_attributes"

    def __init__(self, rule: str, name: str | None = None) -> None:
        super().__init__(f"The attributes are not valid: {rule}.")
        self.rule, self._name = rule, name

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """The attribute, where it is one."""
        if self._name is None:
            return ()
        return ({"location": f"body.attributes.{self._name}", "message": self.rule, "code": self.code},)


class AttributesDoNotFit(Invalid):
    """Attributes of a contact are not as the organisation has declared them."""

    code = "invalid_attributes"

    def __init__(self, misfits: Sequence[tuple[str, str, str]]) -> None:
        name, _, message = misfits[0]
        super().__init__(f"The attributes are not as declared: {name} {message}.")
        self.misfits = misfits
        """Key, code and message of each."""

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """Each attribute that does not fit."""
        return tuple(
            {"location": f"body.attributes.{name}", "message": message, "code": code}
            for name, code, message in self.misfits
        )


class AttributeNotIndexable(Invalid):
    """Attributes of this type have no index."""

    code = "attribute_not_indexable"

    def __init__(self, kind: str) -> None:
        super().__init__(f"An attribute of type {kind} cannot be indexed.")
