"""The options of a battery: their defaults, their schemas and their typed values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Self

import probatio
from yarl import URL

from homeassistant.const import (
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
    CONF_VERIFY_SSL,
    UnitOfTime,
)
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from .jkbms.export.credentials import Credentials
from .jkbms.export.push import DEFAULT_JOB, PushKind, PushTarget
from .jkbms.protocol.registers import Tier

CONF_INTERVAL: Final = "interval"
CONF_LINK: Final = "link"
CONF_PAUSE: Final = "pause"
CONF_COMPATIBILITY: Final = "compatibility"
CONF_CONTROLS: Final = "controls"
# The stored key keeps its old name, which existing entries have.
CONF_CONFIRMED_CURRENTS: Final = "found"
"""Limits of currents, in A, that the battery had when tuning was allowed."""
CONF_PUSH: Final = "push"
"""The section about pushing."""
CONF_KIND: Final = "kind"
CONF_JOB: Final = "job"

STORED: Final = "********"
"""Shown in the form for a stored password or token; submitting it keeps the stored one."""
SECRETS: Final = (CONF_PASSWORD, CONF_TOKEN)
CREDENTIALS: Final = (CONF_USERNAME, *SECRETS)
SHARED: Final = (CONF_KIND, CONF_INTERVAL, CONF_JOB, CONF_VERIFY_SSL)
"""Options that the form suggests from another battery."""

KIND_AUTO: Final = "auto"
"""Detect the kind of server from the path of the URL."""

# The time between two readings. A reading takes about 3 s of one of the few connections
# of an adapter, and of the only one of the battery. 30 s leave both to others for most
# of the time; 5 s is the shortest interval that a reading fits into.
DEFAULT_INTERVAL: Final = timedelta(seconds=30)
MIN_INTERVAL: Final = timedelta(seconds=5)
MAX_INTERVAL: Final = timedelta(hours=1)

# How long values stay valid, in intervals: two reads in a row may fail, as they do with
# a weak signal, without making entities unavailable.
MAX_AGE_INTERVALS: Final = 3

# The minimum time that values stay valid. With the shortest interval, three intervals
# are 15 s, which a single failed read can take.
MIN_MAX_AGE: Final = timedelta(seconds=60)

# The time until the link is used again after it was turned off: enough to change
# settings in the phone app, and short enough not to miss a night if it is forgotten.
DEFAULT_PAUSE: Final = timedelta(minutes=15)
MIN_PAUSE: Final = timedelta(minutes=1)
MAX_PAUSE: Final = timedelta(hours=24)

# The time between two pushes. A minute is the usual scrape interval of Prometheus.
DEFAULT_PUSH_INTERVAL: Final = timedelta(seconds=60)
MIN_PUSH_INTERVAL: Final = timedelta(seconds=10)


class LinkBehaviour(StrEnum):
    """What happens to the link after a reading."""

    RELEASED = "released"
    """Disconnect, so that others can connect between two readings."""
    HELD = "held"
    """Stay connected, for live values; nobody else can connect."""


class Controls(StrEnum):
    """Which settings of the battery may be changed."""

    READ_ONLY = "read_only"
    EVERYDAY = "everyday"
    """Switches for charging, discharging and the balancer."""
    TUNING = "tuning"
    """Everything that the library can write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """Where and how often to push the values."""

    url: str
    kind: PushKind | None = None
    """`None` detects it from the URL."""
    interval: timedelta = DEFAULT_PUSH_INTERVAL
    job: str = DEFAULT_JOB
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    verify_ssl: bool = True

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self | None:
        """Parse the section of the form, `None` where it does not turn pushing on."""
        if not (url := options.get(CONF_URL)):
            return None
        kind = options.get(CONF_KIND, KIND_AUTO)
        return cls(
            url=url,
            kind=None if kind == KIND_AUTO else PushKind(kind),
            interval=_seconds(options, CONF_INTERVAL, DEFAULT_PUSH_INTERVAL),
            job=options.get(CONF_JOB) or DEFAULT_JOB,
            username=options.get(CONF_USERNAME, ""),
            password=options.get(CONF_PASSWORD, ""),
            token=options.get(CONF_TOKEN, ""),
            verify_ssl=options.get(CONF_VERIFY_SSL, True),
        )

    @property
    def target(self) -> PushTarget:
        """Where to push. Raises a `PushUrlError` or `CredentialsError`."""
        credentials = Credentials(
            user=self.username, password=self.password, token=self.token
        )
        return PushTarget.parse(
            self.url,
            kind=self.kind,
            job=self.job,
            credentials=credentials if credentials != Credentials() else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JkBmsOptions:
    """How to read a battery and what to do with its values."""

    interval: timedelta = DEFAULT_INTERVAL
    """Time between two readings."""
    link: LinkBehaviour = LinkBehaviour.RELEASED
    pause: timedelta = DEFAULT_PAUSE
    """Time until a link that was turned off is used again."""
    compatibility: bool = False
    """Whether the entities that cards for esphome-jk-bms read are enabled."""
    controls: Controls = Controls.READ_ONLY
    confirmed_currents: Mapping[str, float] = field(default_factory=dict)
    """Amperes by setting: a higher current needs confirmation."""
    push: PushOptions | None = None
    """`None` turns pushing off."""

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Parse the options of a config entry; what is missing has its default."""
        return cls(
            interval=_seconds(options, CONF_INTERVAL, DEFAULT_INTERVAL),
            link=LinkBehaviour(options.get(CONF_LINK, LinkBehaviour.RELEASED)),
            pause=timedelta(
                minutes=options.get(CONF_PAUSE, _minutes(DEFAULT_PAUSE)),
            ),
            compatibility=options.get(CONF_COMPATIBILITY, False),
            controls=Controls(options.get(CONF_CONTROLS, Controls.READ_ONLY)),
            confirmed_currents=options.get(CONF_CONFIRMED_CURRENTS, {}),
            push=PushOptions.parse(options.get(CONF_PUSH, {})),
        )

    def allows(self, tier: Tier) -> bool:
        """Return whether settings of this tier may be changed."""
        allowed = {Controls.EVERYDAY: {Tier.EVERYDAY}, Controls.TUNING: {*Tier}}
        return tier in allowed.get(self.controls, set())

    @property
    def is_link_held(self) -> bool:
        """Whether to stay connected between two readings."""
        return self.link is LinkBehaviour.HELD

    @property
    def max_age(self) -> timedelta:
        """How long values are valid."""
        return max(MAX_AGE_INTERVALS * self.interval, MIN_MAX_AGE)


def _seconds(options: Mapping[str, Any], key: str, default: timedelta) -> timedelta:
    return timedelta(seconds=options.get(key, default.total_seconds()))


def _minutes(duration: timedelta) -> float:
    return duration / timedelta(minutes=1)


def time_selector(minimum: float, maximum: float, unit: UnitOfTime) -> NumberSelector:
    """Return a field for a time in this unit."""
    return NumberSelector(
        NumberSelectorConfig(
            min=minimum,
            max=maximum,
            mode=NumberSelectorMode.BOX,
            unit_of_measurement=unit,
        )
    )


def list_selector(choices: type[StrEnum], key: str) -> SelectSelector:
    """Return a list to choose from; `key` is that of its translations."""
    return SelectSelector(
        SelectSelectorConfig(
            options=list(choices), mode=SelectSelectorMode.LIST, translation_key=key
        )
    )


SECRET: Final = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="new-password")
)
SCHEMA: Final = probatio.Schema(
    {
        probatio.Required(
            CONF_INTERVAL, default=DEFAULT_INTERVAL.total_seconds()
        ): time_selector(
            MIN_INTERVAL.total_seconds(),
            MAX_INTERVAL.total_seconds(),
            UnitOfTime.SECONDS,
        ),
        probatio.Required(CONF_LINK, default=LinkBehaviour.RELEASED): list_selector(
            LinkBehaviour, CONF_LINK
        ),
        probatio.Required(CONF_PAUSE, default=_minutes(DEFAULT_PAUSE)): time_selector(
            _minutes(MIN_PAUSE), _minutes(MAX_PAUSE), UnitOfTime.MINUTES
        ),
        probatio.Optional(CONF_COMPATIBILITY): BooleanSelector(),
        probatio.Required(CONF_CONTROLS, default=Controls.READ_ONLY): list_selector(
            Controls, CONF_CONTROLS
        ),
    }
)
PUSH_SCHEMA: Final = probatio.Schema(
    {
        probatio.Optional(probatio.Secret(CONF_URL)): TextSelector(
            TextSelectorConfig(type=TextSelectorType.URL)
        ),
        probatio.Required(CONF_KIND, default=KIND_AUTO): SelectSelector(
            SelectSelectorConfig(
                options=[KIND_AUTO, *PushKind],
                mode=SelectSelectorMode.DROPDOWN,
                translation_key="push_kind",
            )
        ),
        probatio.Required(
            CONF_INTERVAL, default=DEFAULT_PUSH_INTERVAL.total_seconds()
        ): time_selector(
            MIN_PUSH_INTERVAL.total_seconds(),
            MAX_INTERVAL.total_seconds(),
            UnitOfTime.SECONDS,
        ),
        probatio.Optional(CONF_JOB, default=DEFAULT_JOB): TextSelector(),
        probatio.Optional(CONF_USERNAME): TextSelector(
            TextSelectorConfig(autocomplete="username")
        ),
        probatio.Optional(probatio.Secret(CONF_PASSWORD)): SECRET,
        probatio.Optional(probatio.Secret(CONF_TOKEN)): SECRET,
        probatio.Required(CONF_VERIFY_SSL, default=True): BooleanSelector(),
    }
)


def storable_push(
    section_input: Mapping[str, Any], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the section as it is stored: no credentials without a URL, none in it.

    A secret that the form shows as stored is taken from `stored`.
    """
    push = {
        key: stored.get(key, value) if key in SECRETS and value == STORED else value
        for key, value in section_input.items()
    }
    if not push.get(CONF_URL):
        return {key: value for key, value in push.items() if key not in CREDENTIALS}
    try:
        url = URL(push[CONF_URL].strip())
    except ValueError:
        # The validation reports it.
        return push
    if url.user or url.password:
        push[CONF_URL] = str(url.with_user(None))
        if not any(push.get(key) for key in CREDENTIALS):
            push |= {CONF_USERNAME: url.user or "", CONF_PASSWORD: url.password or ""}
    return push
