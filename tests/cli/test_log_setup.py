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

from custom_components.jk_bms.jkbms.cli import log_setup as logs
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

    def set_up(levels: dict[str, int], *, to_journal: bool) -> None:
        root.handlers.clear()
        logs.set_up(levels, to_journal=to_journal)
        added.extend(root.handlers)

    yield set_up
    for handler in added:
        root.removeHandler(handler)
    root.setLevel(level)
    for name in (PACKAGE, f"{PACKAGE}.scan", "bleak", "bleak.backends", MANAGER):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where the journal's socket would be."""
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    path = tmp_path / "socket"
    monkeypatch.setattr(logging_journald.JournaldLogHandler, "SOCKET_PATH", path)
    return path


def test_stderr(set_up: SetUp, capsys: pytest.CaptureFixture[str]) -> None:
    """Without more words only warnings are logged, one line each."""
    set_up({}, to_journal=False)
    logger = logging.getLogger(f"{PACKAGE}.client")
    logger.info("unheard")
    logger.warning("heard")
    assert capsys.readouterr().err == f"WARNING {PACKAGE}.client: heard\n"


def test_names_from_the_air(set_up: SetUp, capsys: pytest.CaptureFixture[str]) -> None:
    """A message is one line, whatever it quotes, and no command for a terminal."""
    set_up({}, to_journal=False)
    logging.getLogger("x").warning("%s is back", "A\x1b[2J\nERROR B")
    assert capsys.readouterr().err == "WARNING x: A [2J ERROR B is back\n"


def test_levels(set_up: SetUp, capsys: pytest.CaptureFixture[str]) -> None:
    """Loggers have levels of their own; `jkbms` is the library, wherever it is."""
    set_up(
        {"": logging.ERROR, "jkbms.bluetooth.scanner": logging.INFO}, to_journal=False
    )
    logging.getLogger("bleak").warning("unheard")
    logging.getLogger(f"{PACKAGE}.scan").info("heard")
    assert capsys.readouterr().err == f"INFO {PACKAGE}.scan: heard\n"


@pytest.mark.parametrize("name", ["", "bleak", "bleak.backends", MANAGER])
def test_notifications(
    set_up: SetUp, capsys: pytest.CaptureFixture[str], name: str
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
    set_up({name: logging.DEBUG}, to_journal=False)
    manager._parse_msg(notification)
    logging.getLogger("bleak.backends.bluezdbus.client").debug("connecting")
    err = capsys.readouterr().err
    assert "4711x" not in err
    assert ("connecting" in err) is (name != MANAGER)


def test_notifications_stay_unheard(
    set_up: SetUp, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever wants less gets less."""
    set_up({"": logging.ERROR}, to_journal=False)
    logging.getLogger(MANAGER).warning("unheard")
    assert capsys.readouterr().err == ""


def test_journal(
    set_up: SetUp, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -j the log goes to journald, by its own protocol, and nowhere else."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(journal))
        journald.settimeout(10)
        set_up({"jkbms": logging.INFO}, to_journal=True)
        logging.getLogger(f"{PACKAGE}.survey").info("%s is back", "UPS_BMS")
        lines = journald.recv(65536).split(b"\n")
    assert b"MESSAGE=UPS_BMS is back" in lines
    assert b"PRIORITY=6" in lines
    assert b"SYSLOG_IDENTIFIER=jkbms" in lines
    assert capsys.readouterr().err == ""
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging_journald.JournaldLogHandler)
    handler.transport.socket.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_journal(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is none it is told, and what to do."""
    advice = "; without -j it goes to stderr\n"
    said = f"jkbms: The journal does not take a log ({journal}: "
    assert main(["-j", "-t", "1"]) == 1
    assert capsys.readouterr() == ("", f"{said}No such file or directory){advice}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(journal))
    # It is still there, and nobody listens
    assert main(["-j", "-t", "1"]) == 1
    assert capsys.readouterr().err == f"{said}Connection refused){advice}"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_journal_that_is_read_only(
    set_up: SetUp, journal: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """So is one that must not be written to."""

    def refuse(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(logging_journald.JournaldTransport, "_connect", refuse)
    with pytest.raises(JournalError, match=os.strerror(number)):
        set_up({}, to_journal=True)
