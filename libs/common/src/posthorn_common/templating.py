"""Templates written by users: MiniJinja with fuel, without loaders and without Python objects.

MiniJinja runs outside Python and counts its steps, so a template can neither reach the process nor keep it busy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import minijinja

FUEL = 250_000
"""Steps one rendering may take; a large newsletter takes some thousands."""

MAX_SOURCE_BYTES = 512 * 1024
MAX_OUTPUT_BYTES = 2 * 1024 * 1024
_NAME = "template"


class TemplateProblem(Exception):
    """The template cannot be parsed or rendered. `line` counts from 1 and is None where it is not known."""

    def __init__(self, code: str, message: str, line: int | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line


class Template:
    """A parsed template. With `html`, values are escaped when they are printed.

    Missing values print as nothing, however deep they are looked for. Raises TemplateProblem when the source is too
    large or cannot be parsed.
    """

    def __init__(self, source: str, *, html: bool, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
            raise TemplateProblem("template_too_large", f"is larger than {MAX_SOURCE_BYTES // 1024} KiB", None)
        environment = minijinja.Environment()
        environment.fuel = FUEL
        environment.undefined_behavior = "chainable"
        environment.keep_trailing_newline = True
        environment.auto_escape_callback = lambda _name: html
        for name, function in (functions or {}).items():
            environment.add_global(name, function)
        self._environment = environment
        try:
            environment.add_template(_NAME, source)
            self.fields: frozenset[str] = frozenset(environment.undeclared_variables_in_template(_NAME, nested=True))
        except (minijinja.TemplateError, UnicodeError) as error:
            raise _problem(error) from None

    def render(self, context: Mapping[str, Any]) -> str:
        """Return the text. Raises TemplateProblem; `template_too_expensive` when the fuel runs out.

        For several templates with one context, make that `visible` once.
        """
        try:
            text: str = self._environment.render_template(_NAME, **_plain(context))
        except (minijinja.TemplateError, UnicodeError) as error:
            raise _problem(error) from None
        except Exception as error:  # noqa: BLE001  a call of what is no function raises what Python raises
            raise TemplateProblem("template_invalid", f"cannot be rendered: {type(error).__name__}", None) from None
        if len(text) > MAX_OUTPUT_BYTES:
            raise TemplateProblem("template_output_too_large", "renders to more than 2 MiB", None)
        return text


def visible(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a context as templates may see it. `render` does the same with what is not made visible yet."""
    seen: Mapping[str, Any] = _plain(context)
    return seen


class _Absent:
    """A method that templates do not see."""

    def __get__(self, _instance: object, _owner: type | None = None) -> Any:
        raise AttributeError


class _Fields(dict[str, Any]):
    """A dictionary as templates may see it: to look things up and to walk through.

    MiniJinja lets templates call the methods of Python values. Those that change or make something are hidden: with
    them a template could empty what other renderings share, or fill the memory without spending fuel.
    """

    __slots__ = ()

    def items(self) -> tuple[tuple[str, Any], ...]:  # type: ignore[override]  # a view has methods of its own
        return tuple(dict.items(self))

    def keys(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.keys(self))

    def values(self) -> tuple[Any, ...]:  # type: ignore[override]
        return tuple(dict.values(self))


for _name in set(dir(dict)) - set(vars(_Fields)):
    if not _name.startswith("_"):
        setattr(_Fields, _name, _Absent())


_AS_THEY_ARE = (str, _Fields, int, float, type(None))
_MAPPINGS = (dict, Mapping)  # a dictionary is told much faster by its own class


def _plain(value: Any) -> Any:
    if isinstance(value, _AS_THEY_ARE):
        return value
    if isinstance(value, _MAPPINGS):
        return _Fields({name: item if isinstance(item, _AS_THEY_ARE) else _plain(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return value


def _problem(error: Exception) -> TemplateProblem:
    if not isinstance(error, minijinja.TemplateError):
        return TemplateProblem("template_invalid", "is not valid Unicode", None)
    if error.kind == "OutOfFuel":
        return TemplateProblem("template_too_expensive", "takes too many steps to render", error.line)
    return TemplateProblem("template_invalid", error.detail or error.message, error.line)
