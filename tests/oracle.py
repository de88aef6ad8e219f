"""The reference tokenizer, `tokenizers`, built from the data of a map."""

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from codec_core.families import facts_of
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import vocabulary_of


def reference_tokenizer(tokenizer_map: TokenizerMap) -> Tokenizer:
    """Build the reference from vocabulary, merges, pattern and the facts of the family."""
    facts = facts_of(tokenizer_map)
    merges = [tuple(merge.split(" ")) for merge in tokenizer_map.merges]
    metaspace = tokenizer_map.encoder == "metaspace"
    options = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"} if metaspace else {}
    model = models.BPE(vocab=tokenizer_map.vocab, merges=merges, ignore_merges=facts.ignore_merges, **options)
    tokenizer = Tokenizer(model)
    steps = [normalizers.NFC()] if facts.normalizer == "nfc" else []
    if metaspace:
        steps += [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(tokenizer_map.pre_tokenizer_pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.normalizer = normalizers.Sequence(steps)
    strips = {token.content: token for token in facts.added_tokens}
    for name in vocabulary_of(tokenizer_map).special_tokens:
        token = strips.get(name)
        tokenizer.add_special_tokens(
            [
                AddedToken(
                    name,
                    normalized=False,
                    special=True,
                    lstrip=bool(token and token.lstrip),
                    rstrip=bool(token and token.rstrip),
                )
            ]
        )
    return tokenizer


def reference_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text, special tokens read, none added."""
    return tokenizer.encode(text, add_special_tokens=False).ids
