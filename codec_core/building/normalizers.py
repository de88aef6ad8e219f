"""The normalizer of a `tokenizer.json` as the fields of a map, with what marks spaces."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from codec_core.building.pre_tokenizers import cuts_words
from codec_core.building.steps import NormalizerStep, PreTokenizerStep
from codec_core.exceptions import MapBuildError
from codec_core.unicode.replacement_rules import ReplacementRules, RuleError
from codec_core.vocabulary import METASPACE

_REASONS = {
    "Lowercase": "it loses the case of letters, so that no text comes back",
    "StripAccents": "it loses accents, so that no text comes back",
    "BertNormalizer": "it loses characters, so that no text comes back",
    "NFD": "maps normalize to NFC or NFKC alone",
    "NFKD": "maps normalize to NFC or NFKC alone",
    "Nmt": "it loses characters, so that no text comes back",
    "ByteLevel": "maps write bytes behind the pre-tokenizer, not before it",
}


class Normalizer:
    """The changes that normalizer and pre-tokenizer make to characters.

    Attributes:
        form: the normalization form, or "rules".
        rules: the fields of `normalizer_rules`, in the order in which the file has their steps.
        marked: whether U+2581 stands for spaces.
        prefix: the fields for the U+2581 before the text.
    """

    def __init__(self, normalizer: NormalizerStep | None, steps: Sequence[PreTokenizerStep]) -> None:
        """Read the steps of both.

        Raises:
            MapBuildError: one of them changes text in a way that a map cannot say.
        """
        self.form: Literal["nfc", "nfkc", "none", "rules"] = "none"
        self.rules: dict[str, Any] = {}
        self._writes_marks = True  # whether U+2581 may be in normalized text
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

    @property
    def fields(self) -> Mapping[str, Any]:
        """Return the normalizer of a map, with its rules."""
        return {"normalizer": self.form, **({"normalizer_rules": self.rules} if self.rules else {})}

    def read_charsmap(self, step: NormalizerStep) -> None:
        """Read the rules of a SentencePiece model, which `tokenizers` applies in its own way."""
        try:
            rules = ReplacementRules(b64decode(step.precompiled_charsmap or "", validate=True))
        except ValueError as error:
            known = isinstance(error, RuleError)
            raise MapBuildError(
                f"the rules of the normalizer 'Precompiled' are damaged: {error if known else 'no base64'}"
            ) from None
        self._add_rule(step, charsmap=step.precompiled_charsmap, by_cluster=True)
        written = rules.replacement_of(METASPACE)
        self._writes_marks = written is None or any(METASPACE in each for each in rules.replacements())

    def read_strip(self, step: NormalizerStep) -> None:
        """Read the leaving out of white space at the end."""
        if step.strip_left or not step.strip_right:
            raise MapBuildError(
                "the normalizer 'Strip' has no form in a map: it loses white space before the text, so that "
                "no text comes back"
            )
        self._add_rule(step, strips_end=True)

    def _add_rule(self, step: NormalizerStep, **fields: Any) -> None:
        """Add fields of the rules.

        Raises:
            MapBuildError: a step before it comes behind it in a map.
        """
        order = ("by_cluster", "strips_end", "merged_spaces")  # in which a map applies them
        behind = order[min(order.index(name) for name in fields if name in order) :]
        if (
            self.form not in ("none", "rules")
            or self.marked
            or self.prefix
            or self.rules.keys() & set(behind)
        ):
            raise MapBuildError(f"the normalizer {step.type!r} behind another one has no form in a map")
        self.form = "rules"
        self.rules |= fields

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
        """Read what replaces spaces, or runs of them."""
        if step.pattern == {"Regex": " {2,}"} and step.content in (" ", METASPACE):
            self._add_rule(step, merged_spaces=step.content)
            self._writes_marks = self._writes_marks or step.content == METASPACE
            return
        if (step.pattern, step.content) != ({"String": " "}, METASPACE) or self.marked:
            replaced = next(iter(step.pattern.values()), "")
            raise MapBuildError(
                f"a normalizer that replaces {replaced!r} by {step.content!r} has no form in a map: it "
                "loses what it replaces, so that no text comes back"
            )
        self.marked = True

    def _read_metaspace(self, steps: Sequence[PreTokenizerStep]) -> None:
        """Read what marks spaces and, unlike the normalizer `Prepend`, puts none before one."""
        is_cut = cuts_words(steps)
        step = steps[is_cut]
        if step.type != "Metaspace" or sum(other.type == "Metaspace" for other in steps) > 1:
            raise MapBuildError("a Metaspace pre-tokenizer behind other steps has no form in a map")
        if step.replacement != METASPACE:
            raise MapBuildError(f"Metaspace with {step.replacement!r} for spaces has no form in a map")
        if self.marked or self.prefix:
            raise MapBuildError("spaces are marked twice, which has no form in a map")
        self.marked = True
        # Older files have `add_prefix_space` in place of the scheme.
        scheme = step.prepend_scheme or ("never" if step.add_prefix_space is False else "always")
        # Without a prefix too: it also says that spaces are marked behind the search for added tokens.
        self.prefix = {"metaspace_prefix": scheme, "metaspace_prefix_once": True}
        if is_cut and scheme != "always":
            raise MapBuildError("words without a mark of the space between them have no form in a map")
        if is_cut and self._writes_marks:  # words are divided at it too, and get none if they begin with it
            raise MapBuildError("words that may hold U+2581 have no form in a map")


_STEPS: Mapping[str, Callable[[Normalizer, NormalizerStep], None]] = {
    "NFC": Normalizer.read_form,
    "NFKC": Normalizer.read_form,
    "Prepend": Normalizer.read_prepend,
    "Replace": Normalizer.read_replace,
    "Precompiled": Normalizer.read_charsmap,
    "Strip": Normalizer.read_strip,
}


def _steps_of(step: NormalizerStep | None) -> Iterator[NormalizerStep]:
    """Yield one step, or the members of a `Sequence`."""
    if step is not None and step.type == "Sequence":
        for member in step.normalizers:
            yield from _steps_of(member)
    elif step is not None:
        yield step
