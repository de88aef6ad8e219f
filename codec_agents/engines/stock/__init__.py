"""Shared by the engines that speak their own token-level APIs: vLLM, SGLang and llama.cpp."""
