"""Which of the tests over all engines, clients and event loops are in the quick suite.

Each combination runs in `make test-slow`. The quick suite has a few of each test, in which every engine,
client and event loop occurs.
"""

from __future__ import annotations

import pytest

QUICK: dict[str, tuple[str, ...]] = {
    "test_no_output_repeats_a_secret": (
        "asyncio-codec-httpx", "asyncio-openai-aiohttp", "asyncio-llamacpp-aiohttp", "trio-vllm-httpx",
    ),
    "test_deadlines_of_the_same_moment_end_in_a_typed_error_or_the_answer": (
        "asyncio-no head-aiohttp", "asyncio-an answer-httpx", "trio-no head-httpx", "trio-an answer-httpx",
    ),
    "test_tried_again_it_goes_on_from_the_exact_prefix": ("asyncio-codec", "trio-vllm completions-reset"),
    "test_a_run_that_goes_on_keeps_it_too": ("asyncio-skip-killed", "trio-skip-reset"),
    "test_a_run_that_fails_keeps_what_had_come": ("asyncio-killed", "trio-reset"),
    "test_a_chat_api_is_asked_again_only_before_the_first_id": ("asyncio",),
    "test_an_answer_that_breaks_off": ("codec", "asyncio-reset"),
    "test_silence_has_an_end": ("codec", "asyncio-silent]"),
    "test_however_it_arrives_it_is_the_same_answer": ("asyncio-byte_by_byte",),
    "test_refusals_keep_their_status": ("codec", "asyncio-503"),
    "test_leaving_is_noticed_by_the_server": ("codec", "openai-auto"),
}  # fmt: skip
"""The quick ones by test: parts of the names of their parameters."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the others as slow."""
    for item in items:
        name, _, parameters = item.name.partition("[")
        if name in QUICK and not any(part in parameters for part in QUICK[name]):
            item.add_marker(pytest.mark.slow)
