"""A damaged record is read up to the damage, and the damage is one typed error; old files stay readable."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from codec_agents.exceptions import RecordDamagedError, RecordError
from codec_agents.records.appending import annotate
from codec_agents.records.format import Chain
from codec_agents.records.positions import positions_of
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun
from codec_agents.trace.timeline import traced
from tests.agents.recorded_runs import Answers, asking, desk, refusing, rewrite

pytestmark = pytest.mark.anyio
OLD = Path(__file__).parent / "written_before"
"""Files that versions 1 and 2 of the format were written to by the code of their time."""


@pytest.mark.parametrize("path", sorted(OLD.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_file_of_an_old_version_is_read_without_checksums(path: Path) -> None:
    record = read_record(path)
    assert record.complete
    assert record.header["version"] == int(path.stem[1])
    for trajectory in record.trajectories():
        assert trajectory["complete"]
        assert len(trajectory["ids"]) == trajectory["turn_ends"][-1]
    assert record.texts()["reader"]


async def test_a_file_of_an_old_version_is_replayed() -> None:
    record = read_record(OLD / "v2_desk.jsonl")
    result = await desk(refusing()).replay(record).execute()
    assert result.text == record.texts()
    record = read_record(OLD / "v2_asking.jsonl")
    answers = Answers(forbidden=True)
    assert (await asking(answers, refusing()).replay(record).execute()).text == record.texts()


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Return content with one fault of a kind that disks, editors and programs cause."""
    at, to = sorted((dice.randrange(len(content)), dice.randrange(len(content))))
    kinds = (
        lambda: content[:at] + bytes([content[at] ^ 1 << dice.randrange(8)]) + content[at + 1 :],
        lambda: content[:at] + content[to:],
        lambda: content[:at] + dice.randbytes(dice.randint(1, 40)) + content[at:],
        lambda: content[:at] + content[at:to] + content[at:],
        lambda: content[:at] + bytes(to - at) + content[to:],
        lambda: _with_other_number(content, at, dice),
        lambda: _lines_moved(content, dice),
    )
    return dice.choice(kinds)()


def _with_other_number(content: bytes, at: int, dice: random.Random) -> bytes:
    """Change a number that is still one: what a checksum alone can find."""
    found = re.compile(rb"\d+").search(content, at)
    if found is None:
        return content[:at]
    other = dice.choice(
        [b"%d" % dice.randrange(5000), b"-1", b"1e999", b"9" * 400, b"[" * 3000, b'"x"', b"null"]
    )
    return content[: found.start()] + other + content[found.end() :]


def _lines_moved(content: bytes, dice: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    first, second = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines[: dice.randint(1, len(lines))])


def read_up_to_the_damage(path: Path) -> RecordedRun | None:
    """Return what is readable; an error of another type ends the test."""
    try:
        return read_record(path)
    except RecordDamagedError as error:
        return error.record  # type: ignore[no-any-return]
    except RecordError:
        return None


def use(record: RecordedRun) -> None:
    """Do what the commands do with a record: nothing of it may fail."""
    list(record.trajectories())
    assert record.differences(record) == []
    traced(record, "damaged").summary()
    assert isinstance(record.after, dict)
    json.dumps([record.texts(), record.ends, record.inputs, record.nodes])


def is_beginning(part: RecordedRun, whole: RecordedRun) -> bool:
    """Return true if one run holds what the other does, or less of it, and nothing else."""
    return (
        part.lines == whole.lines[: len(part.lines)]
        and len(part.turns) <= len(whole.turns)
        and all(
            (mine.node, mine.number, mine.prompt) == (theirs.node, theirs.number, theirs.prompt)
            and mine.batches == theirs.batches[: len(mine.batches)]
            for mine, theirs in zip(part.turns, whole.turns, strict=False)
        )
    )


async def test_no_random_damage_goes_unseen_or_gives_an_untyped_error(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await asking(Answers()).invoke({"q": "a"}, record=path)
    whole, content, dice = read_record(path), path.read_bytes(), random.Random(7)
    for _ in range(600):
        path.write_bytes(damaged(content, dice))
        if (record := read_up_to_the_damage(path)) is not None:
            assert is_beginning(record, whole)
            use(record)


def sealed(path: Path, *lines: str) -> Path:
    """Write lines as another program could, whose seals are good."""
    chain = Chain()
    first = '{"kind":"run","version":3,"run_id":"r","pipeline":"p"}'
    path.write_bytes(b"".join(chain.seal(line.encode()) for line in (first, *lines)))
    return path


@pytest.mark.parametrize(
    "line",
    [
        '{"kind":"of a later version","at":"noon"}',
        '{"kind":"node","node":"n","outcome":"failed","at":1,"error":null}',
        '{"kind":"suspended","pause":"p","calls":[{"node":"n"}],"at":1}',
        '{"kind":"suspended","pause":"p","calls":[{"key":1,"node":"n","name":"t","arguments":{}}],"at":1}',
        '{"kind":"tool","node":"n","turn":1}',
        '{"kind":"turn",,}',
    ],
)
def test_sealed_lines_with_other_fields_are_damage(tmp_path: Path, line: str) -> None:
    path = sealed(tmp_path / "run.jsonl", line)
    with pytest.raises(RecordDamagedError):
        read_record(path)
    if '"tool"' in line or '"turn",' in line or '"suspended"' in line:
        with pytest.raises(RecordDamagedError):
            positions_of(path)


def test_a_line_above_the_bound_hides_no_position_behind_it(tmp_path: Path) -> None:
    """Its first part has no newline, as what a crash left of a last line has none."""
    note = f'{{"kind":"annotation","fields":{{"note":"{"x" * 900}"}}}}'
    turn = '{"kind":"turn","node":"n","turn":1,"regions":[],"at":1}'
    path = sealed(tmp_path / "run.jsonl", note, turn)
    assert [each.name for each in positions_of(path)] == ["n: turn 1"]
    with pytest.raises(RecordDamagedError):
        positions_of(path, longest=500)


def test_prompts_that_keep_much_take_the_memory_of_their_lines(tmp_path: Path) -> None:
    """A line of 70 bytes may keep any number of ids: held whole, prompts would take more than the file."""
    first = f'{{"kind":"prompt","node":"n","turn":1,"kept":0,"ids":{[*range(1000)]},"at":0}}'
    ids = '{"kind":"ids","node":"n","turn":1,"ids":[1000,1001],"at":0}'
    said, lines, expected = [*range(1002)], [], [[*range(1000)]]
    for turn, kept in enumerate((1001, 1002, 1000, 1000, 7, 0), 2):
        lines.append(f'{{"kind":"prompt","node":"n","turn":{turn},"kept":{kept},"ids":[{turn}],"at":0}}')
        said = [*said[:kept], turn]
        expected.append(said)
    turns = read_record(sealed(tmp_path / "run.jsonl", first, ids, *lines)).turns
    assert sum(len(turn.own) + len(turn.generated) for turn in turns) == 1008
    assert [turn.prompt for turn in turns] == expected
    assert [turn.prompt_length for turn in turns] == [len(prompt) for prompt in expected]


def test_first_lines_with_other_fields_are_damage(tmp_path: Path) -> None:
    line = '{"kind":"run","version":3,"run_id":"r","pipeline":"p","nodes":{"n":{"sampling":[1]}}}'
    (tmp_path / "run.jsonl").write_bytes(Chain().seal(line.encode()))
    with pytest.raises(RecordDamagedError):
        read_record(tmp_path / "run.jsonl")


def test_a_reward_that_is_no_number_is_a_typed_error(tmp_path: Path) -> None:
    path = sealed(tmp_path / "run.jsonl")
    annotate(path, {"reward": 0.5})
    annotate(path, {"reward": {"n": None, "m": 1}})
    assert read_record(path).rewards == {"": 0.5, "m": 1}
    annotate(path, {"reward": {"n": "good"}})
    with pytest.raises(RecordError, match="a reward that is no number: 'good'"):
        _ = read_record(path).rewards


@pytest.mark.parametrize(
    "name", ["v1_mapped", *(pytest.param(each, marks=pytest.mark.slow) for each in ("v2_desk", "v2_asking"))]
)
def test_random_damage_of_an_old_file_gives_no_untyped_error(name: str, tmp_path: Path) -> None:
    content, dice = (OLD / f"{name}.jsonl").read_bytes(), random.Random(name)
    for _ in range(400):
        (tmp_path / "run.jsonl").write_bytes(damaged(content, dice))
        if (record := read_up_to_the_damage(tmp_path / "run.jsonl")) is not None:
            use(record)


async def test_a_changed_id_is_found_and_what_is_before_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    whole = read_record(path)
    lines = path.read_bytes().splitlines(keepends=True)
    number = min(i for i, line in enumerate(lines) if b'"kind":"ids"' in line)
    lines[number] = re.sub(rb'"ids":\[\d+', b'"ids":[7', lines[number])
    path.write_bytes(b"".join(lines))
    with pytest.raises(RecordDamagedError, match="checksum does not match") as caught:
        read_record(path)
    assert caught.value.line == number + 1
    (turn,) = caught.value.record.turns
    assert (turn.prompt, turn.generated) == (whole.turns[0].prompt, [])
    recovered = await desk().recover(caught.value.record).execute()
    assert recovered.text == whole.texts()


async def test_a_lost_line_and_a_line_of_another_place_are_found(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in ([*lines[:3], *lines[4:]], [*lines[:3], lines[4], lines[3]], [*lines[:3], lines[2]]):
        path.write_bytes(b"".join(changed))
        with pytest.raises(RecordDamagedError, match="missing, changed or out of order") as caught:
            read_record(path)
        assert caught.value.line == 4


async def test_a_version_that_was_damaged_into_an_older_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"version":3', b'"version":2', 1))
    with pytest.raises(RecordDamagedError, match=r":1: .* checksum"):
        read_record(path)
    path.write_bytes(re.sub(rb'"version":3(.*?),"sum".*', rb'"version":2\1}', content, count=1))
    with pytest.raises(RecordDamagedError, match=r":2: .* the first line has none"):
        read_record(path)


async def test_lines_of_an_unknown_kind_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await desk().invoke({"q": "go"}, record=path)
    rewrite(path, lambda text: text + '{"kind":"note","text":"x"}\n')
    assert read_record(path).lines[-1] == {"kind": "note", "text": "x"}


def test_a_seal_belongs_to_its_line_and_to_those_before() -> None:
    writing, reading = Chain(), Chain()
    lines = [writing.seal(b'{"kind":"x","n":%d}' % n) for n in range(3)]
    for line in lines:
        assert json.loads(line)["kind"] == "x"
        reading.verify(line)
    assert reading.value == writing.value
