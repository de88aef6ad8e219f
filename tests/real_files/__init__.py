"""Maps from the tokenizer files that packages ship, held equal to the tokenizers of these files."""
