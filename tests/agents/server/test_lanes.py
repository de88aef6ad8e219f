"""The pieces of text and calls that an answer's ids become."""

from __future__ import annotations

from typing import Self

from codec_agents.server.lanes import _Blanks
from codec_agents.server.parts import Part


class Counted(str):
    """Text that counts how many of its characters are looked at for white space."""

    __slots__ = ()
    looked = 0

    def strip(self, characters: str | None = None, /) -> str:
        Counted.looked += len(self)
        return super().strip(characters)

    def __radd__(self, before: str) -> Self:
        return type(self)(str(before) + str(self))


def test_an_answer_of_white_space_is_looked_at_once() -> None:
    blanks = _Blanks()
    for number in range(100):
        assert not list(blanks.pass_on([Part("answer", Counted(" " * 10), stop=number)]))
    assert Counted.looked == 1000
    [part] = blanks.pass_on([Part("answer", "end", stop=100)])
    assert part.text == " " * 1000 + "end"
    assert not list(blanks.rest())


def test_an_answer_of_white_space_alone_goes_out_at_its_end() -> None:
    blanks = _Blanks()
    assert not list(blanks.pass_on([Part("answer", " "), Part("reasoning", "\n"), Part("answer", "\n")]))
    assert [(part.lane, part.text) for part in blanks.rest()] == [("answer", " \n")]
