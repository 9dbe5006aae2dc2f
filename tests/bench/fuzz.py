"""Coverage-guided fuzzing of the way from notifications to believed values: `scripts/bench fuzz --cases N`.

Frames of batteries are mutated, and those that reach new code are mutated further. What was reached, and how many cases
are done, is kept in `.cache/fuzz`, so that a run goes on where one has ended.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import batched
import json
from pathlib import Path
from random import Random
import sys
from time import process_time
from types import CodeType
from typing import Any, Final

from custom_components.jk_bms.jkbms.errors import (
    ImplausibleFrameError,
    UnsupportedLayoutError,
)
from custom_components.jk_bms.jkbms.models import Layout
from custom_components.jk_bms.jkbms.protocol import (
    checks,
    codes,
    confirmation,
    consistency,
    decode,
    detect,
    fields,
    frames,
    layouts,
    profile,
)
from custom_components.jk_bms.jkbms.protocol.confirmation import Confirmation
from custom_components.jk_bms.jkbms.protocol.consistency import ConsistencyChecker
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_live,
    decode_logbook,
    decode_settings,
    lasting_content,
    redact,
)
from custom_components.jk_bms.jkbms.protocol.detect import confirm_profile
from custom_components.jk_bms.jkbms.protocol.frames import (
    Frame,
    FrameAssembler,
    FrameType,
)
from custom_components.jk_bms.jkbms.protocol.profile import Profile
from tests.virtual_bms import MODELS, Battery, frames as sent

from .figure import Figure, Options, at_least, at_most

_CASES: Final = 20_000, 10_000_000
"""In the short and the long form."""
_STATE: Final = Path(".cache/fuzz")
_CORPUS: Final = Path(__file__).parents[1] / "protocol" / "corpus"
_SESSION: Final = 500
"""Cases that share an assembler and the checks."""
_SAVED_EVERY: Final = 100_000
_KIB: Final = 1024

PROFILES: Final = (
    Profile(Layout.JK04, 3.3, "JK-B2A16S"),
    Profile(Layout.JK02_24S, 10.07, "JK-B2A24S15P"),
    Profile(Layout.JK02_32S, 11.288, "JK_B2A20S20P"),
    Profile(Layout.JK02_32S, 11.55, "JK_DZ11B2A24S"),
    Profile(Layout.JK02_32S, 19.27, "JK-PB2A16S20P"),
)
_DOCUMENTED: Final = ImplausibleFrameError, UnsupportedLayoutError
_MODULES: Final = {
    str(module.__file__)
    for module in (
        *(checks, codes, confirmation, consistency, decode, detect),
        *(fields, frames, layouts, profile),
    )
}
_TOOL: Final = 4
"""Of `sys.monitoring`; the lower ones have names of their own."""
_WORDS: Final = tuple(
    bytes.fromhex(word)
    for word in (
        *("00", "01", "7F", "80", "FF", "0000", "FFFF", "FF7F", "0080", "30F8"),
        *("00000000", "FFFFFFFF", "FFFFFF7F", "00000080", "0000C07F", "0000807F"),
        *("55AAEB90", "AA5590EB", "E40C", "33335340", "41540D0A"),
    )
)


def measure(options: Options) -> Iterator[Figure]:
    """Yield how many cases were run, and what they have found."""
    wanted = options.cases or _CASES[options.long]
    fuzzer = Fuzzer.resumed(_STATE)
    began, before = process_time(), fuzzer.done
    with fuzzer.watching():
        fuzzer.run(wanted)
    passed = process_time() - began
    yield Figure("fuzz, cases", fuzzer.done, "", at_least(wanted), "run so far")
    yield Figure(
        "fuzz, errors",
        len(fuzzer.errors),
        "",
        at_most(0),
        "undocumented ones, by kind and place",
    )
    yield Figure(
        "fuzz, memory",
        fuzzer.retained,
        "bytes",
        at_most(_KIB),
        "the most that an assembler held back",
    )
    yield Figure(
        "fuzz, corpus", len(fuzzer.corpus), "", None, "cases that reached more"
    )
    yield Figure("fuzz, branches", len(fuzzer.reached), "", None, "reached")
    if fuzzer.done > before:
        rate = (fuzzer.done - before) / passed
        yield Figure("fuzz, speed", rate, "/s", None, "cases a second of one core")


class Subject:
    """All that a notification meets, with what must hold whatever it brings."""

    def __init__(self, profile: Profile) -> None:
        """Start with nothing known, as a client does."""
        self.assembler = FrameAssembler()
        self._profile = profile
        self._checker = ConsistencyChecker(self.assembler.statistics)
        self._confirmation = Confirmation(self.assembler.statistics)
        self._time = 0.0
        self._fed = self._held = self._damaged = 0

    def feed(self, chunk: bytes) -> None:
        """Take one notification; raises what is not documented."""
        found = self.assembler.feed(chunk)
        self._fed += len(chunk)
        for frame in found:
            # More is reached where its answer is not heeded
            self._checker.line_is_reliable()
            self._decode(frame)
        seen, held = self.assembler.statistics, len(self.assembler.unfinished)
        assert held < _KIB
        assert frames.FRAME_SIZE * seen.good + seen.skipped + held == self._fed

    def _decode(self, frame: Frame) -> None:
        self._time += 0.5
        with suppress(*_DOCUMENTED):
            _DECODERS[frame.type](self, frame)

    def cell_data(self, frame: Frame) -> None:
        """Take cell data as a client does."""
        confirmed = confirm_profile(frame, self._profile)
        cell_data = decode_cell_data(frame, confirmed)
        assert cell_data.frame_counter == frame.counter
        decode_live(frame, confirmed)
        if frame.data[-1] & 7 == 0:
            self._checker.note(frame, confirmed, self._time)
            self._held = 0
        elif self._checker.accept(frame, cell_data, confirmed, self._time):
            self._held = 0
        else:
            if (damaged := self._checker.statistics.damaged) != self._damaged:
                # It ends the row
                self._held, self._damaged = 0, damaged
            self._held += 1
            assert self._held <= consistency._MAX_HELD_FRAMES

    def settings(self, frame: Frame) -> None:
        """Take settings."""
        self._confirmation.accept(
            decode_settings(frame, self._profile), self._time, lasting_content(frame)
        )

    def device_info(self, frame: Frame) -> None:
        """Take device information, as it is and as diagnostics show it."""
        decode_device_info(redact(frame))
        self._confirmation.accept(
            decode_device_info(frame), self._time, lasting_content(frame)
        )

    def logbook(self, frame: Frame) -> None:
        """Take a logbook."""
        assert len(decode_logbook(frame)) <= layouts.LOGBOOK_ENTRIES.stop

    def detail_log(self, frame: Frame) -> None:
        """Take a part of a detail log."""
        assert len(decode_detail_log(frame)) <= layouts.DETAIL_LOG_CAPACITY


_DECODERS: Final[dict[FrameType, Callable[[Subject, Frame], None]]] = {
    FrameType.CELL_DATA: Subject.cell_data,
    FrameType.SETTINGS: Subject.settings,
    FrameType.DEVICE_INFO: Subject.device_info,
    FrameType.LOGBOOK: Subject.logbook,
    FrameType.DETAIL_LOG: Subject.detail_log,
}


class Fuzzer:
    """Mutates what reached new code before; equal numbers of cases are equal cases."""

    def __init__(self, corpus: Sequence[bytes]) -> None:
        """Start with these cases."""
        self.corpus = list(corpus)
        self.done = self.retained = 0
        self.errors: dict[str, str] = {}
        """Hexadecimal cases by kind and place of their error."""
        self.reached: set[tuple[CodeType, int, int]] = set()
        self._state: Path | None = None
        self._is_new = False

    @classmethod
    def resumed(cls, state: Path) -> Fuzzer:
        """Go on where the run that kept its state there has ended."""
        fuzzer = cls([*seeds(), *corpus(_CORPUS), *corpus(state)])
        fuzzer._state = state
        state.mkdir(parents=True, exist_ok=True)
        kept = state / "state.json"
        data = json.loads(kept.read_text()) if kept.exists() else {}
        # Cases of other code prove nothing of this one
        if data.get("code") == _code():
            fuzzer.done, fuzzer.errors = data["done"], data["errors"]
            fuzzer.retained = data["retained"]
        return fuzzer

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take note of the branches of the library that are reached, each once."""
        events = sys.monitoring.events
        watched = events.BRANCH_LEFT, events.BRANCH_RIGHT
        sys.monitoring.use_tool_id(_TOOL, "fuzz")
        for event in watched:
            sys.monitoring.register_callback(_TOOL, event, self._reach)
        sys.monitoring.set_events(_TOOL, watched[0] | watched[1])
        try:
            yield
        finally:
            sys.monitoring.set_events(_TOOL, 0)
            for event in watched:
                sys.monitoring.register_callback(_TOOL, event, None)
            sys.monitoring.free_tool_id(_TOOL)

    def _reach(self, code: CodeType, start: int, end: int) -> Any:
        if code.co_filename in _MODULES:
            self.reached.add((code, start, end))
            self._is_new = True
        return sys.monitoring.DISABLE

    def run(self, wanted: int) -> None:
        """Run cases until there were so many."""
        while self.done < wanted:
            self._session(Random(self.done), min(_SESSION, wanted - self.done))
            if self._state and (
                self.done % _SAVED_EVERY < _SESSION or self.done >= wanted
            ):
                self._save(self._state)

    def _session(self, rng: Random, count: int) -> None:
        subject = Subject(rng.choice(PROFILES))
        base = rng.choice(self.corpus)
        for _ in range(count):
            if rng.random() < 0.1:
                base = rng.choice(self.corpus)
            case = mutated(base, rng, self.corpus)
            self._is_new = False
            try:
                for chunk in _chunks(case, rng):
                    subject.feed(chunk)
            except Exception as err:  # noqa: BLE001
                self.errors.setdefault(_place(err), case.hex())
                subject = Subject(rng.choice(PROFILES))
            self.done += 1
            self.retained = max(self.retained, len(subject.assembler.unfinished))
            if self._is_new:
                self.corpus.append(case)
                if self._state:
                    keep(case, self._state)

    def _save(self, state: Path) -> None:
        data = {
            "code": _code(),
            "done": self.done,
            "errors": self.errors,
            "retained": self.retained,
        }
        (state / "state.json").write_text(json.dumps(data))


def seeds() -> Iterator[bytes]:
    """Yield a frame of each type from each virtual battery."""
    for spec in MODELS.values():
        battery = Battery(spec, soc=0.6)
        state, settings = battery.state, battery.settings
        yield sent.cell_frame(spec, state, 1)
        yield sent.settings_frame(spec, settings, 1)
        yield sent.info_frame(spec, settings, state, 1)
        yield sent.logbook_frame(battery.log, 1)
        yield sent.detail_log_frame(0, battery.detail_log[:12], 1)


def corpus(folder: Path) -> Iterator[bytes]:
    """Yield the cases kept in a folder, in an order of their own."""
    for file in sorted(folder.glob("*.hex")):
        yield bytes.fromhex(file.read_text())


def keep(case: bytes, folder: Path) -> None:
    """Write a case as hexadecimal text, named after itself."""
    name = sha256(case).hexdigest()[:12]
    (folder / f"{name}.hex").write_text(case.hex(" ", -30) + "\n")


def mutated(base: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Return a case that differs a little, nearly always with a right checksum."""
    case = bytearray(base)
    for _ in range(1 << int(rng.random() * 4)):
        at, way = int(rng.random() * len(case)), rng.random()
        if way < 0.4:
            case[at] = int(rng.random() * 256)
        elif way < 0.6:
            case[at] ^= 1 << int(rng.random() * 8)
        elif way < 0.8:
            word = _WORDS[int(rng.random() * len(_WORDS))]
            case[at : at + len(word)] = word
        elif way < 0.95:
            other, length = rng.choice(others), int(rng.random() * 40)
            case[at : at + length] = other[at : at + length]
        else:
            del case[at : at + int(rng.random() * 3)]
    if rng.random() < 0.95 and len(case) >= frames.FRAME_SIZE:
        case[:4] = frames.HEADER
        del case[frames.FRAME_SIZE :]
        return sent.seal(case)
    return bytes(case) or base


def _code() -> str:
    """Return what identifies the code that is fuzzed."""
    sources = sorted(Path(path).read_bytes() for path in _MODULES)
    return sha256(b"".join(sources)).hexdigest()


def _chunks(case: bytes, rng: Random) -> Iterator[bytes]:
    chance = rng.random()
    if chance > 0.9:
        # As they come from a radio
        for chunk in batched(case, rng.choice((20, 128, 150)), strict=False):
            yield bytes(chunk)
        return
    cut = int(chance * len(case))
    yield case[:cut]
    if chance < 0.02:
        yield case[:cut]
    elif chance < 0.03:
        yield frames.IDLE_LINE
    yield case[cut:]


def _place(err: Exception) -> str:
    trace = err.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
    return f"{type(err).__name__} {where} {err}"
