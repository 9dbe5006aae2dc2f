/** The views of the dashboard, as a plain configuration of Home Assistant's own cards and ours. */
import type { Battery, BatteryStore } from "./batteries.ts";
import type { Hass } from "./hass.ts";
import type { Word, Words } from "./words.ts";

export type Config = Readonly<Record<string, unknown>>;

// Not shared with the main module, which loads this one only when a dashboard is made.
const BATTERY_CARD = "custom:jk-bms-battery-card";
const OVERVIEW_CARD = "custom:jk-bms-overview-card";

/** ms that a battery which was just added has for its entities. */
const TIMEOUT = 3000;

/** Return the batteries once those that Home Assistant shows, by id and name, are among them. */
export async function currentBatteries(
  store: BatteryStore,
  wanted: Readonly<Record<string, string>>,
): Promise<readonly Battery[]> {
  return new Promise((resolve) => {
    let timer: ReturnType<typeof setTimeout> | undefined = undefined;
    const finish = () => {
      clearTimeout(timer);
      queueMicrotask(() => unsubscribe());
      resolve(store.batteries ?? []);
    };
    const isCurrent = () => {
      const titles = new Map(store.batteries?.map(({ device_id, title }) => [device_id, title]));
      return Object.entries(wanted).every(([id, name]) => titles.get(id) === name);
    };
    const unsubscribe = store.subscribe(() => {
      if (store.failed || isCurrent()) finish();
    });
    timer = setTimeout(finish, TIMEOUT);
    if (store.fresh && isCurrent()) finish();
  });
}

type Devices = Hass["devices"];

const TEMPERATURES = [
  ...[1, 2, 4, 5].map((number) => `sensor.temperature_sensor_${number}`),
  "sensor.mosfet_temperature",
  // Of a bank
  "sensor.max_temperature",
  "sensor.min_temperature",
];

/**
 * Return banks first, and all in the order of the names that they give themselves. Home Assistant remembers
 * the open view by its number: if renaming moved it, another battery would be shown.
 */
function inOrder(batteries: readonly Battery[], devices: Devices): readonly Battery[] {
  const name = ({ device_id, title }: Battery) => devices[device_id]?.name ?? title;
  return batteries.toSorted(
    (one, other) =>
      Number(other.packs.length > 0) - Number(one.packs.length > 0) ||
      name(one).localeCompare(name(other), undefined, { numeric: true }) ||
      one.device_id.localeCompare(other.device_id),
  );
}

export function makeDashboard(
  found: readonly Battery[],
  words: Words,
  devices: Devices = {},
): Config {
  if (!found.length) return { views: [noBatteries(words)] };
  const batteries = inOrder(found, devices);
  const views = batteries.map((battery) => batteryView(battery, words));
  return { views: batteries.length > 1 ? [overview(batteries, words), ...views] : views };
}

function noBatteries(words: Words): Config {
  const content = `${words("no_batteries")}\n\n[${words("add_battery")}](/config/integrations/dashboard)`;
  return {
    title: words("all_batteries"),
    type: "sections",
    sections: [{ type: "grid", cards: [{ type: "markdown", content }] }],
  };
}

function overview(batteries: readonly Battery[], words: Words): Config {
  const paths = Object.fromEntries(batteries.map(({ device_id, path }) => [device_id, path]));
  return {
    title: words("all_batteries"),
    path: "all",
    type: "sections",
    max_columns: 3,
    sections: [
      grid({ type: OVERVIEW_CARD, paths, grid_options: { columns: "full" } }),
      ...batteries.map((battery) => grid(batteryCard(battery))),
    ],
  };
}

function batteryView(battery: Battery, words: Words): Config {
  const ids = (keys: readonly string[]) =>
    keys.map((key) => battery.entities[key]).filter((id) => id !== undefined);
  const group = (title: Word, icon: string, cards: readonly Config[]) =>
    cards.length ? [{ type: "heading", heading: words(title), icon }, ...cards] : [];
  const graph = (keys: readonly string[], card: Config): Config[] => {
    const entities = ids(keys).map((entity) => ({ entity, name: { type: "entity" } }));
    return entities.length ? [{ ...card, entities, grid_options: { columns: 12 } }] : [];
  };
  const day = { type: "history-graph", hours_to_show: 24 };
  const week = { type: "statistics-graph", days_to_show: 7 };
  const events = ids([
    "binary_sensor.problem",
    "event.alarm",
    "event.log_entry",
    "switch.bluetooth_link",
  ]);
  const settings = Object.keys(battery.entities).filter((key) => /^(number|select)\./.test(key));
  const sections = [
    [batteryCard(battery)],
    [
      ...group("history", "mdi:chart-line", [
        ...graph(["sensor.state_of_charge"], day),
        ...graph(["sensor.power"], day),
        ...graph(["sensor.total_voltage", "sensor.current"], day),
        ...graph(TEMPERATURES, day),
        ...graph(["sensor.current_sharing_deviation"], day),
        ...graph(["sensor.pack_voltage_spread"], day),
        ...graph(["sensor.max_cell_voltage", "sensor.min_cell_voltage"], {
          ...week,
          period: "hour",
          stat_types: ["min", "max"],
        }),
      ]),
    ],
    [
      ...group(
        "energy",
        "mdi:lightning-bolt",
        graph(["sensor.energy_charged", "sensor.energy_discharged"], {
          ...week,
          period: "day",
          chart_type: "bar",
          stat_types: ["change"],
        }),
      ),
      ...group(
        "events",
        "mdi:format-list-bulleted",
        events.length
          ? [
              {
                type: "logbook",
                target: { entity_id: events },
                hours_to_show: 24,
                grid_options: { columns: 12, rows: 4 },
              },
            ]
          : [],
      ),
      ...group(
        "link_and_settings",
        "mdi:tune-variant",
        ids([
          "switch.bluetooth_link",
          "button.refresh",
          "sensor.signal_strength",
          "sensor.last_update",
          ...settings,
        ]).map((entity) => ({
          type: "tile",
          entity,
          name: { type: "entity" },
          // When a button was pressed says nothing, and "Unknown" until then.
          hide_state: entity.startsWith("button."),
        })),
      ),
    ],
  ];
  return {
    title: battery.title,
    path: battery.path,
    type: "sections",
    max_columns: 3,
    sections: sections.filter((cards) => cards.length).map((cards) => grid(...cards)),
  };
}

function batteryCard({ device_id }: Battery): Config {
  return { type: BATTERY_CARD, device_id, grid_options: { columns: "full" } };
}

function grid(...cards: readonly Config[]): Config {
  return { type: "grid", cards };
}
