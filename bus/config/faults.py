"""Collecting every fault of routes.yaml, each at its line and column; and pydantic's errors said in the house's words."""

import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from bus.config.marks import Document, Path
from bus.errors import Fault, suggestion, text
from bus.options import Surroundings

M = TypeVar("M", bound=BaseModel)

#: pydantic's error type -> our words; placeholders are filled from the error's own context.
_WORDS: Mapping[str, str] = {
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs at least {min_length} entries",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "does not have the form {pattern}",
}


class Faults:
    """What is wrong with one document so far. A value that already has a fault gets no second one: it would only be its shadow."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: set[Path] = set()
        self.found: list[Fault] = list(document.faults)

    def __bool__(self) -> bool:
        return any(not fault.warning for fault in self.found)

    def add(self, path: Path, text: str, *, key: bool = False, warning: bool = False, vi: str = "") -> None:
        """Note ``text``, in Vietnamese ``vi``, at the value of ``path``, or at its ``key``."""
        if path in self._seen and not key:
            return
        if not warning:
            self._seen.add(path)
        mark = self._document.mark(path, key=key)
        self.found.append(Fault(self._document.file, mark.line, mark.column, text, warning=warning, vi=vi))

    def warn(self, path: Path, key: str, /, **values: object) -> None:
        """Note a warning in the catalogue's words at the value of ``path``."""
        self.add(path, text(key, "en", **values), warning=True, vi=text(key, "vi", **values))

    def validated(self, model: type[M], data: Any, path: Path, context: Surroundings | None) -> M | None:
        """``data`` as ``model``, or None when faults were found."""
        try:
            return model.model_validate({} if data is None else data, context=context)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                self._note(detail, model, path)
            return None

    def _note(self, detail: Mapping[str, Any], model: type[BaseModel], path: Path) -> None:
        location = detail["loc"]
        at = (*path, *location)
        name = next((step for step in reversed(at) if isinstance(step, str)), "")
        if detail["type"] == "extra_forbidden":
            self.add(at, f"unknown key {name!r}{suggestion(str(name), _keys(model, location[:-1]))}", key=True)
        elif detail["type"] == "missing":
            self.add(at[:-1], f"{name!r} is missing{_description(model, location)}", key=True)
        elif detail["type"] == "value_error":
            self.add(at, str(detail["ctx"]["error"]), key=not location)
        else:
            words = _WORDS.get(detail["type"])
            said = words.format(**detail.get("ctx", {})) if words else detail["msg"]
            self.add(at, f"{name!r} {said}" if words else f"{name!r}: {said}")


def secrets_in(value: Any, path: Path) -> list[Path]:
    """Paths of all the non-empty secrets inside a validated model."""
    if isinstance(value, SecretStr):
        return [path] if value.get_secret_value() else []
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        parts: Any = ((fields[name].alias or name, getattr(value, name)) for name in fields)
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return []
    return [found for key, part in parts for found in secrets_in(part, (*path, key))]


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at ``location`` inside ``model`` declares."""
    for step in location:
        field = next((field for name, field in model.model_fields.items() if step in (name, field.alias)), None)
        inner = _model_in(field.annotation) if field else None
        model = inner or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as ``list[Model] | None`` or ``dict[str, Model]`` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)


def _description(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    field = next((field for name, field in model.model_fields.items() if location[-1] in (name, field.alias)), None)
    return f": {field.description}" if field and len(location) == 1 and field.description else ""
