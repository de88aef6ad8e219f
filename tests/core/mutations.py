"""Bytes that were well-formed once: a few places of them are replaced, left out, doubled or moved in."""

from hypothesis import strategies as st


@st.composite
def mutated(draw, bodies):
    """Draw one of these bodies, with one to four changes."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(body))), draw(st.sampled_from((0, 1, 1, 2, 4, 9)))
        copied = draw(st.integers(0, len(body)))
        body[at : at + size] = draw(
            st.one_of(st.binary(max_size=4), st.just(bytes(body[copied : copied + 9])))
        )
    return bytes(body)
