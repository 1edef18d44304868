"""Classes that change in place: each function makes one, and what changes it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, computed_field
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

WORLD = {"language": "French"}
"""What a schema may depend on."""


def speak_german() -> None:
    WORLD.update(language="German")


def description_and_rebuild() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        x: str = Field(description="in French")

    def change() -> None:
        Answer.model_fields["x"].description = "in German"
        Answer.model_rebuild(force=True)

    return Answer, change


def annotation_and_rebuild() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        x: str

    def change() -> None:
        Answer.model_fields["x"].annotation = int
        Answer.model_rebuild(force=True)

    return Answer, change


def docstring() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        """In French."""

        x: str

    return Answer, lambda: setattr(Answer, "__doc__", "In German.")


def docstring_under_a_description() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        """In French."""

        model_config = ConfigDict(json_schema_extra={"description": "An answer."})

    return Answer, lambda: setattr(Answer, "__doc__", "In German.")


def docstring_of_a_nested_class() -> tuple[type, Callable[[], object]]:
    class Inner(BaseModel):
        """In French."""

    class Answer(BaseModel):
        x: list[Inner]

    return Answer, lambda: setattr(Inner, "__doc__", "In German.")


def extra_by_a_function() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        model_config = ConfigDict(json_schema_extra=lambda schema: schema.update(WORLD))

    return Answer, speak_german


def extra_in_a_dict() -> tuple[type, Callable[[], object]]:
    extra: dict[str, Any] = {"language": "French"}

    class Answer(BaseModel):
        x: str = Field(json_schema_extra=extra)

    return Answer, lambda: extra.update(language="German")


def overridden() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**super().model_json_schema(*args, **kwargs), **WORLD}

    return Answer, speak_german


def overridden_later() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        x: str

    def change() -> None:
        Answer.model_json_schema = classmethod(lambda cls: WORLD)  # type: ignore[assignment]

    return Answer, change


def overridden_without_a_docstring() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        """In French."""

        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {"type": "object"}

    return Answer, lambda: setattr(Answer, "__doc__", "In German.")


def hook_of_pydantic() -> tuple[type, Callable[[], object]]:
    class Inner(BaseModel):
        @classmethod
        def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
            return {**handler(schema), **WORLD}

    class Answer(BaseModel):
        x: Inner

    return Answer, speak_german


def mutable_default() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        x: list[str] = ["French"]

    return Answer, lambda: Answer.model_fields["x"].default.append("German")


def names_under_aliases() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        french: str = Field(alias="x", title="X")

    def change() -> None:
        Answer.model_fields["german"] = Answer.model_fields.pop("french")
        Answer.model_rebuild(force=True)

    return Answer, change


def computed() -> tuple[type, Callable[[], object]]:
    class Answer(BaseModel):
        @computed_field
        def x(self) -> Annotated[str, WithJsonSchema(WORLD)]:
            return ""

    return Answer, speak_german


def dataclass() -> tuple[type, Callable[[], object]]:
    @dataclasses.dataclass
    class Answer:
        """In French."""

        x: str

    return Answer, lambda: setattr(Answer, "__doc__", "In German.")


def description_that_only_langchain_reads() -> tuple[type, Callable[[], object]]:
    Answer = TypedDict("Answer", {"x": Annotated[str, ..., "In French."]})  # noqa: UP013

    def change() -> None:
        Answer.__annotations__["x"] = Annotated[str, ..., "In German."]

    return Answer, change


KINDS = [
    *(description_and_rebuild, annotation_and_rebuild, docstring, docstring_of_a_nested_class),
    *(docstring_under_a_description,),
    *(extra_by_a_function, extra_in_a_dict, overridden, overridden_later, hook_of_pydantic),
    *(overridden_without_a_docstring, mutable_default, names_under_aliases, computed, dataclass),
    description_that_only_langchain_reads,
]
