"""The normalizer of a `tokenizer.json` as the fields of a map, with what marks spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from codec_core.building.steps import NormalizerStep, PreTokenizerStep
from codec_core.exceptions import MapBuildError
from codec_core.vocabulary import METASPACE

_REASONS = {
    "Lowercase": "it loses the case of letters",
    "StripAccents": "it loses accents",
    "BertNormalizer": "it loses characters",
    "Strip": "it loses white space at the ends of the text",
    "Precompiled": "it applies a SentencePiece model's rules otherwise than the model does, and so loses "
    "accents; build from the model itself",
    "NFD": "it is not the normal form of any map",
    "NFKD": "it is not the normal form of any map",
    "Nmt": "it loses characters",
    "ByteLevel": "maps write bytes behind the pre-tokenizer, not before it",
}


class Normalizer:
    """The changes that normalizer and pre-tokenizer make to characters.

    Attributes:
        form: the normalization form.
        marked: whether U+2581 stands for spaces.
        prefix: the fields for the U+2581 before the text.
    """

    def __init__(self, normalizer: NormalizerStep | None, steps: Sequence[PreTokenizerStep]) -> None:
        """Read the steps of both.

        Raises:
            MapBuildError: one of them changes text in a way that a map cannot say.
        """
        self.form: Literal["nfc", "nfkc", "none"] = "none"
        self.marked = False
        self.prefix: dict[str, Any] = {}
        for step in _steps_of(normalizer):
            read = _STEPS.get(step.type)
            if read is None:
                reason = _REASONS.get(step.type, "it is not known")
                raise MapBuildError(f"the normalizer {step.type!r} has no form in a map: {reason}")
            read(self, step)
        if any(step.type == "Metaspace" for step in steps):
            self._read_metaspace(steps)
        if self.marked:
            # Stated where nothing is put before text: without the field, a map means "always".
            self.prefix = {"metaspace_prefix": "never", **self.prefix}
        elif self.prefix:
            raise MapBuildError("a normalizer that puts U+2581 before text with spaces has no form in a map")

    def read_form(self, step: NormalizerStep) -> None:
        """Read a normalization form."""
        if self.form != "none" or self.marked:
            raise MapBuildError(f"the normalizer {step.type!r} behind another one has no form in a map")
        self.form = "nfc" if step.type == "NFC" else "nfkc"

    def read_prepend(self, step: NormalizerStep) -> None:
        """Read what is put before the text."""
        if step.prepend != METASPACE:
            raise MapBuildError(
                f"a normalizer that puts {step.prepend!r} before the text has no form in a map"
            )
        if self.prefix:
            raise MapBuildError("a normalizer that puts U+2581 before the text twice has no form in a map")
        self.prefix = {"metaspace_prefix": "always"}

    def read_replace(self, step: NormalizerStep) -> None:
        """Read what replaces spaces."""
        if (step.pattern, step.content) != ({"String": " "}, METASPACE) or self.marked:
            raise MapBuildError(
                f"a normalizer that replaces {step.pattern} by {step.content!r} has no form in a map"
            )
        self.marked = True

    def _read_metaspace(self, steps: Sequence[PreTokenizerStep]) -> None:
        """Read what marks spaces and, unlike the normalizer `Prepend`, puts none before one."""
        step = steps[0]
        if step.type != "Metaspace" or any(other.type == "Metaspace" for other in steps[1:]):
            raise MapBuildError("a Metaspace pre-tokenizer behind other steps has no form in a map")
        if step.replacement != METASPACE:
            raise MapBuildError(f"Metaspace with {step.replacement!r} for spaces has no form in a map")
        if self.marked or self.prefix:
            raise MapBuildError("spaces are marked twice, which has no form in a map")
        self.marked = True
        # Older files have `add_prefix_space` in place of the scheme.
        scheme = step.prepend_scheme or ("never" if step.add_prefix_space is False else "always")
        self.prefix = {"metaspace_prefix": scheme, "metaspace_prefix_once": scheme != "never"}


_STEPS: Mapping[str, Callable[[Normalizer, NormalizerStep], None]] = {
    "NFC": Normalizer.read_form,
    "NFKC": Normalizer.read_form,
    "Prepend": Normalizer.read_prepend,
    "Replace": Normalizer.read_replace,
}


def _steps_of(step: NormalizerStep | None) -> Iterator[NormalizerStep]:
    """Yield one step, or the members of a `Sequence`."""
    if step is not None and step.type == "Sequence":
        for member in step.normalizers:
            yield from _steps_of(member)
    elif step is not None:
        yield step
