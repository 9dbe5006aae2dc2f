"""`--set` and `--apply`: what is asked, written, proven and refused."""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import sys
from typing import Any

from hypothesis import (
    HealthCheck,
    given,
    settings as hypothesis_settings,
    strategies as st,
)
import pytest

from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.errors import NotReachableError
from custom_components.jk_bms.jkbms.protocol.changes import PROTECTED
from custom_components.jk_bms.jkbms.protocol.registers import REGISTERS
from tests.virtual_bms import MODELS, Battery, Faults, VirtualBms, VirtualRadio

from .test_commands import Run, place, radio, run

__all__ = ["radio", "run"]

GARAGE = MODELS["JK_PB2A16S20P 15.41"]
BMS = ("-t", "5", "-d", GARAGE.address)
PASSCODE = "JKBMS_SETTINGS_PASSCODE"

type Answer = Callable[..., None]


@pytest.fixture
def bms(radio: VirtualRadio, monkeypatch: pytest.MonkeyPatch) -> VirtualBms:
    """Return a battery in range, of which the settings passcode is in the environment."""
    monkeypatch.setenv(PASSCODE, GARAGE.setup_passcode)
    return place(radio, GARAGE)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Return what makes stdin a terminal on which a person types this."""

    def answer(line: str, passcode: str = "") -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys.stdin, "readline", lambda: line)
        monkeypatch.setattr(
            "custom_components.jk_bms.jkbms.cli.change.getpass", lambda _: passcode
        )

    return answer


def written(bms: VirtualBms) -> list[tuple[Any, bytes]]:
    """Return registers and values of all writes."""
    assert bms.harms == []
    return [(command.register, command.value) for command in bms.writes]


def test_set_writes_and_proves(bms: VirtualBms, run: Run) -> None:
    """The plan is printed first, then what the battery confirmed."""
    result = run(*BMS, "--set", "charging=off", "--set", "soc_0=2.9", "--yes")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "soc_0: 2.7 V -> 2.9 V",
        "charging: on -> off",
        "soc_0: confirmed",
        "charging: confirmed",
    ]
    assert written(bms) == [(0x08, bytes.fromhex("540b0000")), (0x1D, bytes(4))]


def test_log_has_each_change_and_its_outcome(
    bms: VirtualBms, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """User data are masked there too."""
    caplog.set_level("INFO")
    arguments = ("--set", "userdata=Winter 25", "--set", "charging=off", "--yes")
    result = run("-l", "info", *BMS, *arguments)
    assert "userdata: ******** -> ********: confirmed" in caplog.messages
    assert "charging: on -> off: confirmed" in caplog.messages
    assert "Winter" not in result.out + result.err + caplog.text


def test_dry_run_writes_nothing(bms: VirtualBms, run: Run) -> None:
    """Only the plan is printed."""
    result = run(*BMS, "--set", "discharging=off", "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("discharging: on -> off\n  turning it off cuts")
    assert written(bms) == []


def test_equal_value_is_not_written(bms: VirtualBms, run: Run) -> None:
    """With nothing to change, no confirmation is asked for."""
    result = run(*BMS, "--set", "charging=on")
    assert result[:3] == (0, "nothing to change\n", "")
    assert written(bms) == []


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_change_is_written_only_after_a_yes(
    bms: VirtualBms, run: Run, terminal: Answer, typed: str, code: int
) -> None:
    """An end of the input counts as a no."""
    terminal(typed)
    result = run(*BMS, "--set", "charging=off")
    assert result.code == code
    assert "Change this? [y/N]" in result.err
    assert len(written(bms)) == (not code)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cell_ovp=4.2", "cell_ovp: it protects the cells"),
        ("nonsense=1", "nonsense: there is no such setting"),
        ("soc_0=3.6", "soc_0: the value is not allowed: allowed: 2.501 to 3.444 V"),
        ("soc_0=much", "soc_0: not a valid value for this setting"),
        ("soc_0=nan", "soc_0: not a valid value for this setting"),
        ("soc_0=\uff12.\uff19", "soc_0: not a valid value for this setting"),
        (
            "max_charge_current=1_0",
            "max_charge_current: not a valid value for this setting",
        ),
        ("charging=maybe", "must be on or off"),
        ("can_protocol=9999", "can_protocol: not a valid value for this setting"),
        ("state_of_charge=50", "this battery does not accept it"),
        ("userdata=äöü", "printable ASCII"),
    ],
)
def test_refused_setting_sends_nothing_and_gives_one_reason(
    bms: VirtualBms, run: Run, setting: str, message: str
) -> None:
    """Not even the allowed setting beside it is sent."""
    result = run(*BMS, "--set", setting, "--set", "balancer=off", "--yes")
    assert result.code == 1
    assert message in result.err
    assert len(result.complaints) == 1
    assert written(bms) == []


def test_tuning_needs_the_passcode(
    bms: VirtualBms, run: Run, terminal: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passcode comes from the environment or is typed, and must be the battery's."""
    arguments = (*BMS, "--set", "soc_0=2.9", "--yes")
    monkeypatch.setenv(PASSCODE, "wrong")
    assert run(*arguments).complaints == ["jkbms: the settings passcode is wrong"]
    monkeypatch.delenv(PASSCODE)
    assert "this needs the settings passcode" in run(*arguments).err
    terminal("", passcode="wrong")
    assert run(*arguments).complaints == ["jkbms: the settings passcode is wrong"]
    assert written(bms) == []
    terminal("", passcode=GARAGE.setup_passcode)
    result = run(*arguments)
    assert result.code == 0
    assert GARAGE.setup_passcode not in result.out + result.err
    assert len(written(bms)) == 1


def test_battery_without_passcode_is_not_tuned(
    radio: VirtualRadio, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its switches still work."""
    monkeypatch.setenv(PASSCODE, "")
    bms = place(radio, replace(GARAGE, setup_passcode=""))
    result = run(*BMS, "--set", "soc_0=2.9", "--yes")
    assert "has no settings passcode" in result.err
    assert written(bms) == []
    assert run(*BMS, "--set", "charging=off", "--yes").code == 0


def test_script_needs_yes(bms: VirtualBms, run: Run) -> None:
    """Without a terminal there is no confirmation."""
    result = run(*BMS, "--set", "charging=off")
    assert result.complaints == ["jkbms: this needs a terminal to confirm, or --yes"]
    assert written(bms) == []


def test_ignored_write_is_reported(radio: VirtualRadio, run: Run) -> None:
    """The message has what was asked, what the battery says and why that may be."""
    bms = place(radio, GARAGE, faults=Faults(ignore_writes=True))
    result = run(*BMS, "--set", "charging=off", "--yes")
    assert result.code == 1
    assert result.out.endswith("charging: not confirmed\n")
    (complaint,) = result.complaints
    assert "off was requested, the battery last reported on" in complaint
    assert len(written(bms)) == 1


def test_lost_battery_changes_nothing(
    bms: VirtualBms, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A battery may disappear between reading and writing."""

    async def refuse(*_: Any, **__: Any) -> None:
        raise NotReachableError("gone")

    monkeypatch.setattr(
        "custom_components.jk_bms.jkbms.bluetooth.client.JkBmsClient.write", refuse
    )
    result = run(*BMS, "--set", "charging=off", "--yes")
    assert result.code == 1
    assert "nothing was changed: gone" in result.err


def test_battery_that_takes_the_name_over_is_not_changed(
    radio: VirtualRadio, bms: VirtualBms, run: Run, terminal: Answer, monkeypatch: Any
) -> None:
    """What was shown and confirmed is written to the battery that was read."""
    twin = VirtualBms(Battery(replace(GARAGE, address="C8:47:80:10:00:99"), soc=0.6))

    def take_over() -> str:
        radio.place(twin, -30)
        del radio.reach[bms.address]
        return "y\n"

    terminal("")
    monkeypatch.setattr(sys.stdin, "readline", take_over)
    result = run("-t", "5", "-d", GARAGE.advertised_name, "--set", "charging=off")
    assert result.code == 1
    assert written(twin) == written(bms) == []


def test_setting_of_a_battery_out_of_range_fails(run: Run) -> None:
    """Nothing is printed to stdout, just as when such a battery is read."""
    result = run(*BMS, "--set", "charging=off", "--yes")
    assert result.code == 1
    assert result.out == ""


# Backup and restore


def test_backup_is_restored_except_what_is_never_written(
    bms: VirtualBms, run: Run, tmp_path: Path
) -> None:
    """The backup is the output of `--settings -f toml`."""
    backup = tmp_path / "backup.toml"
    backup.write_text(run(*BMS, "--settings", "-f", "toml").out, "utf-8")
    assert run(*BMS, "--apply", str(backup)).out == "nothing to change\n"
    before = bms.battery.settings
    bms.battery.settings = replace(
        before,
        charging=False,
        soc_0=2.95,
        soc_100=3.4,
        cell_ovp=3.6,
        nominal_capacity=100.0,
    )
    result = run(*BMS, "--apply", str(backup), "--yes")
    assert result.code == 0
    assert result.complaints == ["jkbms: not restored: cell_ovp, nominal_capacity"]
    assert [register for register, _ in written(bms)] == [0x08, 0x07, 0x1D]
    assert bms.battery.settings == replace(before, cell_ovp=3.6, nominal_capacity=100.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no toml", "Expected"),
        (f"a = {'[' * 20_000}", "it is nested too deeply"),
        ("[device_info]", "it has no [[settings]]"),
        ("[[settings]]\n[[settings]]\n", "the settings of exactly one battery"),
        (None, "No such file"),
    ],
)
def test_file_without_settings_is_refused_before_reading(
    run: Run, tmp_path: Path, content: str | None, message: str
) -> None:
    """One line says what is wrong with it; no battery is needed for that."""
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content, "utf-8")
    result = run(*BMS, "--apply", str(path))
    assert result.code == 2
    assert message in result.err
    assert len(result.complaints) == 1


def test_file_with_a_byte_order_mark(bms: VirtualBms, run: Run, tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "file"
    path.write_text("[[settings]]\nsoc_0 = 2.9\n", "utf-8-sig")
    assert run(*BMS, "--apply", str(path), "--dry-run").out == "soc_0: 2.7 V -> 2.9 V\n"


def test_file_of_which_nothing_can_be_restored_is_a_failure(
    bms: VirtualBms, run: Run, tmp_path: Path
) -> None:
    """Beside another setting that is written, it is only a warning."""
    path = tmp_path / "file"
    path.write_text("[[settings]]\ncell_ovp = 4.2\nunknown = {}\n", "utf-8")
    result = run(*BMS, "--apply", str(path), "--yes")
    assert (result.code, result.out) == (1, "")
    assert result.complaints == [
        "jkbms: nothing in the file can be restored: cell_ovp, unknown"
    ]
    result = run(*BMS, "--apply", str(path), "--set", "charging=off", "--yes")
    assert result.code == 0
    assert result.complaints == ["jkbms: not restored: cell_ovp, unknown"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('charging = "off"', "must be on or off"),
        ("soc_0 = nan", "not a valid value"),
        ('soc_0 = "2.9"', "must be a number"),
        ("soc_0 = true", "must be a number"),
        ("soc_0 = 2026-11-29", "must be a number"),
        ("soc_0 = 3.65", "not allowed"),
        ("balance_trigger = [1]", "not a valid value"),
    ],
)
def test_file_with_a_bad_value_sends_nothing(
    bms: VirtualBms, run: Run, tmp_path: Path, content: str, message: str
) -> None:
    """TOML has more types of values than a setting accepts."""
    path = tmp_path / "file"
    path.write_text(f"[[settings]]\n{content}\n", "utf-8")
    assert message in run(*BMS, "--apply", str(path), "--yes").err
    assert written(bms) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "charging=off"), "--set needs --devices with one battery"),
        (("-d", "A,B", "--apply", "x"), "--apply needs --devices with one battery"),
        ((*BMS, "--yes"), "--yes is only for --set and --apply"),
        ((*BMS, "--set", "charging=off", "-f", "j"), "--set takes no --format"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    """It is a usage error, found before Bluetooth is used."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["charging"], "--set needs NAME=VALUE, not charging"),
        (["=off"], "--set needs NAME=VALUE, not =off"),
        (["charging=on", "charging = off"], "--set has charging twice"),
    ],
)
def test_malformed_assignment_is_refused_before_reading(
    run: Run, settings: list[str], message: str
) -> None:
    """It is a usage error: nothing is read from the battery."""
    arguments = [part for setting in settings for part in ("--set", setting)]
    result = run(*BMS, *arguments)
    assert result[:3] == (2, "", f"jkbms: {message}\n")


def test_set_on_other_layouts(radio: VirtualRadio, run: Run) -> None:
    """The register is that of the layout."""
    bms = place(radio, MODELS["JK-B2A16S 3.3.0"])
    result = run("-t", "5", "-d", bms.address, "--set", "balancer=0", "--yes")
    assert result.code == 0
    assert written(bms) == [(0x6C, b"\0")]


# Whatever is asked for


NAMES = sorted(
    {name for registers in REGISTERS.values() for name in registers}
    | PROTECTED
    | {"nominal_capacity", "0x65", "settings"}
)
NUMBERS = st.integers(-50, 5000).map(lambda raw: raw / 1000) | st.integers(-300, 300)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=9)
FILE_VALUES = st.one_of(
    NUMBERS.map(str),
    st.sampled_from(
        [
            "true",
            "false",
            "nan",
            "-inf",
            "1e99",
            "9" * 30,
            "[1]",
            "{a = 1}",
            "1979-05-27",
        ]
    ),
    TEXTS.map(json.dumps),
)


@given(
    wanted=st.dictionaries(
        st.sampled_from(NAMES),
        NUMBERS.map(str)
        | TEXTS
        | st.sampled_from(["on", "off", "nan", "1e999", "0x10"]),
        max_size=3,
    ),
    saved=st.dictionaries(st.sampled_from(NAMES), FILE_VALUES, max_size=4)
    | st.none()
    | TEXTS,
    faults=st.sampled_from(
        [
            Faults(),
            Faults(ignore_writes=True),
            Faults(revert_after=1),
            Faults(drop_at_write="during"),
        ]
    ),
)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_argument_or_file_makes_a_harmful_byte_leave(
    bms: VirtualBms,
    run: Run,
    tmp_path: Path,
    wanted: dict[str, str],
    saved: dict[str, str] | str | None,
    faults: Faults,
) -> None:
    """The battery notes every harm; each run writes a register once at most."""
    original, sent = bms.battery.settings, len(bms.writes)
    bms.faults = faults
    arguments = [
        part for name, text in wanted.items() for part in ("--set", f"{name}={text}")
    ]
    if saved is not None or not wanted:
        rows = saved if isinstance(saved, dict) else {}
        lines = [f"{json.dumps(name)} = {text}" for name, text in rows.items()]
        content = "\n".join(["[[settings]]", *lines])
        path = tmp_path / "settings.toml"
        path.write_text(saved if isinstance(saved, str) else content, "utf-8")
        arguments += ["--apply", str(path)]
    result = run(*BMS, *arguments, "--yes")
    assert result.code in (0, 1, 2)
    assert "Traceback" not in result.err
    registers = [register for register, _ in written(bms)[sent:]]
    assert len(registers) == len(set(registers))
    bms.faults = Faults()
    bms.battery.settings = original
