"""A dialect from a model's own templates, for families that no dialect is known of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codec_agents.dialects.base import CallForm, Dialect, Openings, ThinkingForm
from codec_agents.dialects.templates.response_template import ResponseMarks
from codec_agents.dialects.templates.template_process import TemplateProcess, token_text
from codec_agents.dialects.templates.template_turns import REFUSED, TemplateTurns, Turns, added_tokens
from codec_agents.exceptions import DialectError


def dialect_of_templates(config: Mapping[str, Any], marks: ResponseMarks | None) -> Dialect:
    """Return the dialect that a model's own templates show.

    Raises:
        DialectError: the chat template cannot be taken apart, or jinja2 is not installed.
    """
    with TemplateProcess(config) as process:
        return _dialect(config, marks, TemplateTurns(config, process))


def _dialect(config: Mapping[str, Any], marks: ResponseMarks | None, template: TemplateTurns) -> Dialect:
    turns = template.turns()
    tokens = added_tokens(config)
    end, after_turn = _turn_end(template.pieces(turns.answer_suffix), tokens)
    eos = token_text(config.get("eos_token"))
    # A turn begins with its first piece: tokens behind that may be anywhere in a turn.
    first = [template.pieces(text)[:1] for text in (turns.user_prefix, turns.opening, turns.system)]
    # Tools, calls and results belong together: a model that is told tools calls them, and waits for results.
    calls = marks.calls if marks else None
    results = template.results(turns) if calls else None
    tools = template.tools(turns) if results else None
    forms = [turns.begin, turns.system, turns.system_in_user or "", turns.user, turns.answer_prefix]
    forms += [turns.answer_suffix, turns.opening, eos, *((tools.form,) if tools else ())]
    forms += [results.open, results.join, results.close] if results else []
    marked = [*(marks.thinking or ()), *(calls.starts + calls.ends if calls else ())] if marks else []
    markers = dict.fromkeys(piece for form in forms for piece in template.pieces(form) if piece in tokens)
    return Dialect(
        name="own-template",
        description="derived from the model's own chat template",
        markers=tuple(markers),
        # Marks that no turn of the template has may be missing among the tokens: then they are text.
        optional_markers=tuple(name for name in dict.fromkeys(marked) if name not in markers),
        begin=turns.begin,
        system=turns.system,
        system_in_user=turns.system_in_user,
        default_system=turns.default_system,
        user=turns.user,
        assistant=f"{turns.answer_prefix}{{content}}{turns.answer_suffix}",
        opening=_openings(template, turns, marks),
        turn_starts=tuple(dict.fromkeys(piece for pieces in first for piece in pieces if piece in tokens)),
        turn_end=end,
        after_turn=after_turn,
        stops=tuple(dict.fromkeys(name for name in (end, eos) if name)),
        thinking=_thinking(turns, marks),
        tools=tools,
        calls=_written(calls, template, turns) if calls and tools else None,
        results=results if tools else None,
    )


def _written(calls: CallForm, template: TemplateTurns, turns: Turns) -> CallForm:
    """Return the form of calls with how declared ones are written, where their arguments are JSON."""
    return calls.model_copy(update={"written": template.calls(turns) if calls.grammar == "json" else None})


def _turn_end(pieces: Sequence[str], tokens: Iterable[str]) -> tuple[str | None, str]:
    if not pieces:
        return None, ""
    if pieces[0] in tokens:
        return pieces[0], "".join(pieces[1:])
    raise DialectError(f"{REFUSED} the assistant's turn ends with {pieces[0]!r}, which is no token")


def _openings(template: TemplateTurns, turns: Turns, marks: ResponseMarks | None) -> Openings:
    forced = None
    if marks is not None and marks.thinking is not None:
        opens = marks.thinking[0] in turns.opening
        forced = turns.opening if opens else f"{turns.opening}{marks.thinking[0]}"
    return Openings(
        default=turns.opening,
        on=template.opening(turns, "on"),
        off=template.opening(turns, "off"),
        forced=forced,
    )


def _thinking(turns: Turns, marks: ResponseMarks | None) -> ThinkingForm | None:
    if marks is None or marks.thinking is None:
        return None
    opens, closes = marks.thinking
    return ThinkingForm(open=opens, close=closes, closing=closes, history=turns.answer_prefix)
