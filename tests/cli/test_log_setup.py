"""Tests of where the log goes."""

from collections.abc import Callable, Iterator
import errno
import logging
import os
from pathlib import Path
import socket

from bleak.backends.bluezdbus.manager import BlueZManager
from dbus_fast import Message, MessageType, Variant
import logging_journald
import pytest
import pytest_socket

from custom_components.jk_bms.jkbms.cli import log_setup
from custom_components.jk_bms.jkbms.cli.log_setup import LogFilter
from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.errors import JournalError

PACKAGE = "custom_components.jk_bms.jkbms"
MANAGER = "bleak.backends.bluezdbus.manager"


type SetUp = Callable[..., None]


@pytest.fixture
def set_up() -> Iterator[SetUp]:
    """Return what sets up logging as at the start of a process."""
    root = logging.getLogger()
    level = root.level
    added: list[logging.Handler] = []

    def set_up(text: str, *, to_journal: bool = False) -> None:
        root.handlers.clear()
        log_setup.set_up(LogFilter.parse(text), to_journal=to_journal)
        added.extend(root.handlers)

    yield set_up
    for handler in added:
        root.removeHandler(handler)
    root.setLevel(level)
    for name in (
        PACKAGE,
        f"{PACKAGE}.bluetooth.scanner",
        "bleak",
        "bleak.backends",
        MANAGER,
    ):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where the journal's socket would be."""
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    path = tmp_path / "socket"
    monkeypatch.setattr(logging_journald.JournaldLogHandler, "SOCKET_PATH", path)
    return path


def test_warnings_are_logged_by_default(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without -l only warnings are logged, one line each."""
    set_up("")
    logger = logging.getLogger(f"{PACKAGE}.bluetooth.client")
    logger.info("hidden")
    logger.warning("shown")
    expected = f"WARNING {PACKAGE}.bluetooth.client: shown\n"
    assert capsys.readouterr().err == expected


def test_message_with_control_characters_is_one_line(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message may quote a name from an advertisement."""
    set_up("")
    logging.getLogger("x").warning("%s is back", "A\x1b[2J\nERROR B")
    assert capsys.readouterr().err == "WARNING x: A [2J ERROR B is back\n"


def test_traceback_has_the_lines_of_the_traceback_and_no_others(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected error may quote a name from an advertisement too."""
    set_up("")
    err = Exception("A\x1b[2J\u202e")
    logging.getLogger("x").error("failed", exc_info=err)
    first, second, *lines = capsys.readouterr().err.split("\n")
    assert (first, second) == ("ERROR x: failed", "Exception: A [2J ")
    assert lines == [""]


def test_each_logger_has_its_level(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loggers have levels of their own; `jkbms` is the library, wherever it is."""
    set_up("error,jkbms.bluetooth.scanner=info")
    logging.getLogger("bleak").warning("hidden")
    logging.getLogger(f"{PACKAGE}.bluetooth.scanner").info("shown")
    assert capsys.readouterr().err == f"INFO {PACKAGE}.bluetooth.scanner: shown\n"


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("debug", {"": logging.DEBUG}),
        ("WARN", {"": logging.WARNING}),
        ("ubmsc=debug", {PACKAGE: logging.DEBUG}),
        ("jk_bms=debug", {PACKAGE: logging.DEBUG}),
        ("jkbms=info", {PACKAGE: logging.INFO}),
        ("ubmsc", {PACKAGE: logging.DEBUG}),
        ("ubmsc=", {PACKAGE: logging.DEBUG}),
        ("ubmsc::client=trace", {PACKAGE: logging.DEBUG}),
        ("jkbms::bluetooth=info", {f"{PACKAGE}.bluetooth": logging.INFO}),
        (
            " error , bleak.backends=info,,ubmsc=off",
            {"": logging.ERROR, "bleak.backends": logging.INFO, PACKAGE: 51},
        ),
        ("", {}),
    ],
)
def test_filter_takes_the_syntax_of_env_logger(
    text: str, levels: dict[str, int]
) -> None:
    """A level, a target or both, separated by commas; `ubmsc` is the library."""
    assert LogFilter.parse(text) == LogFilter(levels)


def test_targets_that_are_not_named_are_off(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """A filter without a plain level logs its targets only, as in env_logger."""
    set_up("ubmsc=info")
    logging.getLogger("bleak").error("hidden")
    logging.getLogger(f"{PACKAGE}.bluetooth.scanner").info("shown")
    assert capsys.readouterr().err == f"INFO {PACKAGE}.bluetooth.scanner: shown\n"


def test_filter_hides_messages_without_a_match(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind a slash stands a regular expression, which messages must match."""
    set_up("info/b[ae]ck$")
    logger = logging.getLogger(PACKAGE)
    logger.info("%s is lost", "UPS_BMS")
    logger.info("%s is back", "UPS_BMS")
    assert capsys.readouterr().err == f"INFO {PACKAGE}: UPS_BMS is back\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jkbms=loud", "'loud' is not a level: off, error, warn"),
        ("info/(", r"'\(' is not a regular expression"),
    ],
)
def test_filter_error_names_the_part_that_is_wrong(text: str, message: str) -> None:
    """For a level, the message lists those that exist."""
    with pytest.raises(ValueError, match=message):
        LogFilter.parse(text)


@pytest.mark.parametrize("target", ["", "bleak=", "bleak.backends=", f"{MANAGER}="])
def test_notifications_are_never_logged(
    set_up: SetUp, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    """What batteries send, passcodes and all, is not logged by bleak's BlueZ manager."""
    notification = Message(
        message_type=MessageType.SIGNAL,
        path="/org/bluez/hci0/dev_X/service0001/char0002",
        interface="org.freedesktop.DBus.Properties",
        member="PropertiesChanged",
        signature="sa{sv}as",
        body=["org.bluez.GattCharacteristic1", {"Value": Variant("ay", b"4711x")}, []],
    )
    manager = BlueZManager()
    set_up(f"{target}debug")
    manager._parse_msg(notification)
    logging.getLogger("bleak.backends.bluezdbus.client").debug("connecting")
    err = capsys.readouterr().err
    assert "4711x" not in err
    assert ("connecting" in err) is (target != f"{MANAGER}=")


def test_notification_logger_keeps_a_higher_level(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raising its level to info must not raise it above what was asked for."""
    set_up("error")
    logging.getLogger(MANAGER).warning("hidden")
    assert capsys.readouterr().err == ""


def test_journal_gets_the_log_and_stderr_does_not(
    set_up: SetUp, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -j the log goes to journald, by its own protocol, and nowhere else."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(journal))
        journald.settimeout(10)
        set_up("jkbms=info", to_journal=True)
        logging.getLogger(f"{PACKAGE}.cli.monitor").info("%s is back", "UPS_BMS")
        lines = journald.recv(65536).split(b"\n")
    assert b"MESSAGE=UPS_BMS is back" in lines
    assert b"PRIORITY=6" in lines
    assert b"SYSLOG_IDENTIFIER=jkbms" in lines
    assert capsys.readouterr().err == ""
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging_journald.JournaldLogHandler)
    handler.transport.socket.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_missing_journal_fails_with_advice(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to do."""
    advice = "; without -j the log goes to stderr\n"
    said = f"jkbms: Cannot log to journald ({journal}: "
    assert main(["-j", "-t", "1"]) == 1
    assert capsys.readouterr() == ("", f"{said}No such file or directory){advice}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(journal))
    # The socket still exists, but nothing listens
    assert main(["-j", "-t", "1"]) == 1
    assert capsys.readouterr().err == f"{said}Connection refused){advice}"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_unwritable_journal_fails(
    set_up: SetUp, journal: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The system does not allow to write to its socket."""

    def refuse(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(logging_journald.JournaldTransport, "_connect", refuse)
    with pytest.raises(JournalError, match=os.strerror(number)):
        set_up("", to_journal=True)
