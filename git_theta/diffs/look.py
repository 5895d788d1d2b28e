"""How text about differences shall look."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from git_theta.diffs.heads import DIGITS, PREFIXES


class Look(Struct, frozen=True):
    """How the text shall look.

    Attributes:
        width: columns that a line may take; None for as many as it needs.
        fold: whether groups whose names differ in numbers only are put together.
        is_unicode: whether the text may have characters beyond ASCII.
        prefixes: what stands before the paths of the old and the new side.
        digits: how many of a blob's name are shown.
        colours: escape sequences by word: "old", "new", "changed", "title", "head", and "end" which ends each.
    """

    width: int | None = None
    fold: bool = True
    is_unicode: bool = True
    prefixes: tuple[str, str] = PREFIXES
    digits: int = DIGITS
    colours: Mapping[str, str] = field(default_factory=dict)

    def coloured(self, text: str, word: str) -> str:
        """The text in the colour that a word stands for."""
        start = self.colours.get(word, "")
        return f"{start}{text}{self.colours.get('end', '')}" if start and text else text

    @property
    def about(self) -> str:
        """What stands before an estimate."""
        return "≈" if self.is_unicode else "~"

    @property
    def blocks(self) -> str:
        """Characters that are filled more and more, from an empty one on."""
        return " ▁▂▃▄▅▆▇█" if self.is_unicode else " .:=#"
