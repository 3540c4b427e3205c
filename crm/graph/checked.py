"""Documents that were parsed and have passed validation, kept for the next request that sends the same text.

Only those of programs and staff: a stranger cannot push theirs out. Bounded by their length in all, for a parsed
document takes some hundred times its text.
"""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from graphql import DocumentNode, OperationDefinitionNode

from crm.graph.sizes import Size


@dataclass(frozen=True)
class Checked:
    """A document that may be run. *size* is None where its variables decide it."""

    document: DocumentNode
    size: Size | None

    @classmethod
    def of(cls, document: DocumentNode, size: Size) -> "Checked":
        """Give *document*, which has passed validation and has this size with the variables at hand."""
        operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
        return cls(document, None if any(each.variable_definitions for each in operations) else size)


class Documents:
    """What was checked, by its text; what was used longest ago is forgotten above *most_characters* in all."""

    def __init__(self, most_characters: int) -> None:
        self.characters = 0
        self._most = most_characters
        self._kept: OrderedDict[str, Checked] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str | None) -> Checked | None:
        """Give what was kept of *text*."""
        with self._lock:
            found = self._kept.get(text or "")
            if found is not None:
                self._kept.move_to_end(text or "")
            return found

    def keep(self, text: str, checked: Checked) -> None:
        """Keep *checked* for the next that sends *text*."""
        with self._lock:
            if text in self._kept:
                return
            self._kept[text] = checked
            self.characters += len(text)
            while self.characters > self._most:
                forgotten, _ = self._kept.popitem(last=False)
                self.characters -= len(forgotten)
