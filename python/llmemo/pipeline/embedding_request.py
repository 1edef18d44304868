"""What a call asks of its texts: whose embeddings, of documents or of a query; names and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmemo.keys.identity import seek
from llmemo.keys.model_class import Place
from llmemo.keys.model_description import mark_of
from llmemo.keys.request import Request
from llmemo.keys.values import plain_describer
from llmemo.pipeline.lookup_state import LookupState

if TYPE_CHECKING:
    from llmemo.config.options import Options
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall

Kind = Literal["document", "query"]
"""What a text is to the model: providers may embed the same text differently."""


class EmbeddingRequest(NamedTuple):
    """What all texts of a call have in common."""

    template: Request
    """The request of each text, without the text."""
    namespace: str
    """Of the records."""
    names: tuple[str, str]
    """What memory knows the model by; the second for texts that look like messages."""

    def name_of(self, text: str) -> str:
        """What memory knows the model by that embeds this text: see `Request.name`."""
        return self.names[text.lstrip()[:1] == "["]

    def of(self, text: str) -> Request:
        """The request of a text."""
        return self.template._replace(prompt=text)


def embedding_request(
    model: str, kind: Kind, parameters: dict[str, Any], namespace: str
) -> EmbeddingRequest:
    """Describe a call. An entry of a place of its own keeps its keys apart from any model's.

    Args:
        model: The name of the embeddings.
        kind: What the texts are.
        parameters: Of the call, by name.
        namespace: Of the records.

    Raises:
        RequestBypassed: A parameter cannot be told.
    """
    supplement = plain_describer.options(Place.EMBEDDING, {kind: model})
    if parameters:
        supplement += plain_describer.options(Place.OPTION, parameters)
    template = Request(
        "", f"llmemo: embedding of a {kind}", supplement, mark_of(supplement), is_text=True
    )
    names = (template.name(), template._replace(prompt="[").name())
    return EmbeddingRequest(template, namespace, names)


class TextLookup(LookupState):
    """The lookup of one text that memory has not answered at first sight."""

    epoch = 0
    """That of the key: see `Memory.fill`."""

    def __init__(
        self,
        tiers: Tiers,
        request: EmbeddingRequest,
        text: str,
        options: Options,
        make_call: MakeCall,
    ) -> None:
        """Begin."""
        super().__init__(tiers, request.of(text), options, make_call)
        self.namespace = request.namespace
        self.name = request.name_of(text)

    async def find_key(self) -> None:
        """Find the key: beside the event loop, if the text is long."""
        await self.unless_small(self._find_key, is_large=self.is_long)

    def _find_key(self) -> None:
        memory = self.tiers.memory
        identity, epoch = seek(memory, self.request, self.namespace)
        self.key = identity.key
        self.epoch = memory.epoch(self.key) if epoch is None else epoch
