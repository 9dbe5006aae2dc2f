/** What a card shows, computed from the states of a battery's entities. */
import type { Battery, CellLimits, Live } from "./batteries.ts";
import { formatDuration, formatNumber, formatTime } from "./format.ts";
import type { Hass, HassEntity } from "./hass.ts";
import type { Words } from "./words.ts";

/** One entity with a value. */
export interface Value {
  readonly entityId: string;
  readonly state: string;
  readonly name: string;
  /** In the user's format, with the unit. */
  readonly text: string;
  /** In V, A, W or s, whatever unit the user chose; `NaN` where the state is no number. */
  readonly number: number;
  readonly attributes: HassEntity["attributes"];
}

export interface Cell extends Value {
  /** From 1, as in the battery. */
  readonly cell: number;
  /** Like `text`, without the unit. */
  readonly short: string;
  readonly lowest: boolean;
  readonly highest: boolean;
  /** The wire resistance alarm is about this cell. */
  readonly alarm: boolean;
  /** V above the average of the cells. */
  readonly deviation: number;
  /** Ohm; `undefined` where not measured. */
  readonly resistance: number | undefined;
}

export interface Scale {
  readonly low: number;
  readonly high: number;
  /** Where the scale has marks, as fractions of its length. */
  readonly empty: number | undefined;
  readonly full: number | undefined;
}

/** What the balancer does: it moves charge from the highest cells to the lowest. */
export interface Balancer {
  readonly current: Value | undefined;
  readonly from: readonly number[];
  readonly to: readonly number[];
}

export interface Fault {
  readonly key: string;
  readonly cells: readonly number[];
  /** Name of the pack of a bank that has it. */
  readonly pack?: string;
}

export type Flow = "charging" | "discharging" | "idle";

export interface Model {
  readonly title: string;
  /** Some values are from before the battery became unavailable. */
  readonly stale: boolean;
  /** No values are coming: the battery is not read, or the link is free for others. */
  readonly outdated: boolean;
  readonly flow: Flow | undefined;
  readonly soc: Value | undefined;
  readonly power: Value | undefined;
  readonly current: Value | undefined;
  readonly voltage: Value | undefined;
  readonly remaining: Value | undefined;
  readonly capacity: Value | undefined;
  readonly cycles: Value | undefined;
  readonly health: Value | undefined;
  /** Charged in its whole life. */
  readonly throughput: Value | undefined;
  readonly runtime: Value | undefined;
  /** s until the battery is full while it charges, until it is empty while it discharges. */
  readonly timeLeft: number | undefined;
  readonly cells: readonly Cell[];
  readonly scale: Scale;
  /** V. */
  readonly average: number | undefined;
  readonly spread: number | undefined;
  readonly balancer: Balancer | undefined;
  readonly temperatures: readonly { readonly label: string; readonly value: Value }[];
  readonly faults: readonly Fault[];
  readonly states: readonly Value[];
  readonly switches: readonly Value[];
  readonly link: Value | undefined;
  readonly refresh: string | undefined;
  /** Return the value of one entity, by platform and key. */
  readonly value: (key: string) => Value | undefined;
}

const GONE = new Set(["unavailable", "unknown"]);
/** Of the units that a user may choose instead of V, A, W and s. */
const FACTORS: Readonly<Record<string, number | undefined>> = {
  mV: 1e-3,
  mA: 1e-3,
  kW: 1e3,
  min: 60,
  h: 3600,
  d: 86400,
};
const TEMPERATURES = [1, 2, 4, 5] as const;

/** The switches that the battery may have, and the binary sensor that shows the effect of each. */
const CONTROLS: readonly (readonly [string, string | undefined])[] = [
  ["switch.charging", "binary_sensor.charging"],
  ["switch.discharging", "binary_sensor.discharging"],
  ["switch.balancer", undefined],
  ["switch.heating", "binary_sensor.heating"],
];

/** The most certain first. */
export const BALANCER = [
  "sensor.balancer_state",
  "binary_sensor.balancing",
  "sensor.balancing_current",
] as const;

/** W or A below which neither direction is shown. */
const IDLE_POWER = 1;
const IDLE_CURRENT = 0.05;

/** Last good states, shown dimmed while a battery is unavailable. */
export class Memory {
  readonly #states = new Map<string, HassEntity>();

  /** Return the entity, or as it was before it became unavailable. */
  recall(entity: HassEntity): HassEntity {
    if (entity.state !== "unavailable") this.#states.set(entity.entity_id, entity);
    return this.#states.get(entity.entity_id) ?? entity;
  }
}

export function buildModel(
  hass: Hass,
  battery: Battery,
  live: Live | undefined,
  memory: Memory,
): Model {
  let stale = false;
  const value = (key: string): Value | undefined => {
    const entityId = battery.entities[key];
    const shown = entityId === undefined ? undefined : hass.states[entityId];
    if (!shown) return undefined;
    const recalled = memory.recall(shown);
    // A bank that is read lacks the sums while a pack is missing.
    const entity = battery.packs.length && live?.available ? shown : recalled;
    if (GONE.has(entity.state)) return undefined;
    stale ||= entity !== shown;
    return {
      entityId: entity.entity_id,
      state: entity.state,
      name: hass.formatEntityName(entity, { type: "entity" }),
      text: hass.formatEntityState(entity),
      number: Number.parseFloat(entity.state) * (FACTORS[unitOf(entity)] ?? 1),
      attributes: entity.attributes,
    };
  };

  const power = value("sensor.power");
  const current = value("sensor.current");
  const cells = markCells(cellValues(battery, value), live);
  const volts = cells.map(({ number }) => number);
  const temperatures = [
    ...TEMPERATURES.map((n) => ({
      label: `T${n}`,
      value: value(`sensor.temperature_sensor_${n}`),
    })),
    { label: "mosfet", value: value("sensor.mosfet_temperature") },
  ];
  const states: Value[] = [];
  const switches: Value[] = [];
  for (const [control, indicator] of CONTROLS) {
    const controlled = value(control);
    const indicated = indicator === undefined ? undefined : value(indicator);
    if (controlled) switches.push(controlled);
    // A protection may have turned off what is allowed.
    if (indicated) states.push(indicated);
  }
  const flow = flowOf(power, current);
  // The sensors have smoothed the current for longer, but are off by default.
  const timeLeft = {
    charging: value("sensor.time_to_full")?.number ?? live?.time_to_full,
    discharging: value("sensor.time_to_empty")?.number ?? live?.time_to_empty,
    idle: undefined,
  }[flow ?? "idle"];
  const refreshId = battery.entities["button.refresh"];
  return {
    title: battery.title,
    flow,
    soc: value("sensor.state_of_charge"),
    power,
    current,
    voltage: value("sensor.total_voltage"),
    remaining: value("sensor.capacity_remaining"),
    capacity: value("sensor.full_charge_capacity"),
    cycles: value("sensor.charging_cycles"),
    health: value("sensor.state_of_health"),
    throughput: value("sensor.total_charging_cycle_capacity"),
    runtime: value("sensor.total_runtime"),
    timeLeft: timeLeft ?? undefined,
    cells,
    scale: scaleOf(battery.limits, volts),
    average: volts.length ? mean(volts) : undefined,
    // A bank has no cells of its own.
    spread: volts.length
      ? Math.max(...volts) - Math.min(...volts)
      : value("sensor.delta_cell_voltage")?.number,
    balancer: balancerOf(value, cells),
    temperatures: temperatures.filter((each): each is { label: string; value: Value } =>
      Boolean(each.value),
    ),
    faults: (live?.faults ?? []).map((key) => ({ key, cells: cellsMeant(key, cells, live) })),
    states,
    switches,
    link: value("switch.bluetooth_link"),
    refresh: refreshId !== undefined && hass.states[refreshId] ? refreshId : undefined,
    value,
    stale,
    outdated: stale || Boolean(live?.reason ?? live?.resumes_at),
  };
}

function unitOf({ attributes }: Pick<Value, "attributes">): string {
  return String(attributes["unit_of_measurement"] ?? "");
}

/** Return the entities of the cell voltages, cell 1 first. */
export function cellEntities({ entities }: Battery): { cell: number; key: string; id: string }[] {
  return Object.entries(entities)
    .flatMap(([key, id]) => {
      const cell = /^sensor\.cell_voltage_(\d+)$/.exec(key)?.[1];
      return cell === undefined || id === undefined ? [] : [{ cell: Number(cell), key, id }];
    })
    .sort((a, b) => a.cell - b.cell);
}

type Measured = Value & Pick<Cell, "cell" | "short">;

function cellValues(battery: Battery, value: (key: string) => Value | undefined): Measured[] {
  return cellEntities(battery).flatMap(({ cell, key }) => {
    const measured = value(key);
    if (!measured || !Number.isFinite(measured.number)) return [];
    const short = measured.text.replace(unitOf(measured), "").trim();
    return [{ ...measured, cell, short }];
  });
}

/** Mark all cells that share the lowest or the highest voltage; none if all are the same. */
function markCells(cells: readonly Measured[], live: Live | undefined): Cell[] {
  const volts = cells.map(({ number }) => number);
  const [low, high, average] = [Math.min(...volts), Math.max(...volts), mean(volts)];
  return cells.map((cell) => ({
    ...cell,
    lowest: low < high && cell.number === low,
    highest: low < high && cell.number === high,
    alarm: live?.wire_resistance_cells.includes(cell.cell) ?? false,
    deviation: cell.number - average,
    // 0 has not been measured yet.
    resistance: live?.cell_resistance[cell.cell - 1] || undefined,
  }));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Return the scale of the cells: the battery's own limits, so that it never moves. */
export function scaleOf(limits: CellLimits | null, volts: readonly number[]): Scale {
  const low = limits?.undervoltage ?? Math.min(...volts) - 0.1;
  const high = limits?.overvoltage ?? Math.max(...volts) + 0.1;
  const fraction = (volt: number | null | undefined) =>
    volt && volt > low && volt < high ? (volt - low) / (high - low) : undefined;
  return { low, high, empty: fraction(limits?.empty), full: fraction(limits?.full) };
}

const WINDOWS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2];

/** Return how many V around the average are shown: a round number that holds all cells. */
export function windowOf(cells: readonly Cell[]): number {
  const largest = Math.max(...cells.map((cell) => Math.abs(cell.deviation)));
  return WINDOWS.find((window) => window >= largest) ?? largest;
}

function flowOf(power: Value | undefined, current: Value | undefined): Flow | undefined {
  // The sign decides; both are positive while charging.
  const [measured, idle] = power
    ? [power.number, IDLE_POWER]
    : [current?.number ?? Number.NaN, IDLE_CURRENT];
  if (Number.isNaN(measured)) return undefined;
  if (Math.abs(measured) < idle) return "idle";
  return measured > 0 ? "charging" : "discharging";
}

function balancerOf(
  value: (key: string) => Value | undefined,
  cells: readonly Cell[],
): Balancer | undefined {
  const [state, balancing, current] = BALANCER.map(value);
  // Some boards report a decaying current after the balancer has stopped.
  const works = state
    ? state.state !== "off"
    : balancing
      ? balancing.state === "on"
      : Math.abs(current?.number ?? 0) >= IDLE_CURRENT;
  return works
    ? { current, from: numbers(cells, "highest"), to: numbers(cells, "lowest") }
    : undefined;
}

function numbers(cells: readonly Cell[], mark: "lowest" | "highest" | "alarm"): number[] {
  return cells.filter((cell) => cell[mark]).map((cell) => cell.cell);
}

function cellsMeant(fault: string, cells: readonly Cell[], live: Live | undefined): number[] {
  switch (fault) {
    case "wire_resistance":
      return [...(live?.wire_resistance_cells ?? [])];
    case "cell_overvoltage":
      return numbers(cells, "highest");
    case "cell_undervoltage":
      return numbers(cells, "lowest");
    default:
      return [];
  }
}

/** Return what the battery does and for how long: `Charging`, `full in 2 h`. */
export function activity(hass: Hass, words: Words, { flow, timeLeft }: Model): string[] {
  if (!flow) return [];
  const word = flow === "charging" ? "full_in" : "empty_in";
  const time = timeLeft ? [words(word, { time: formatDuration(hass, timeLeft) })] : [];
  return [words(flow), ...time];
}

export function freedUntil(hass: Hass, words: Words, resumesAt: string): string {
  return words("freed", { time: formatTime(hass, new Date(resumesAt)) });
}

export function millivolts(hass: Hass, volts: number): string {
  return `${formatNumber(hass, volts * 1000, 0)} mV`;
}

export function levelOf(percent: number): "high" | "medium" | "low" {
  return percent > 50 ? "high" : percent > 20 ? "medium" : "low";
}

/** Faults first, then those that cannot be read, then the emptiest. */
export function urgency({
  model,
  lost,
}: {
  readonly model: Model;
  readonly lost: boolean;
}): number {
  return (model.faults.length ? 0 : lost ? 1000 : 2000) + (model.soc?.number ?? 100);
}

/** Return the charge of all batteries in %, each counting by its capacity. */
export function totalCharge(models: readonly Model[]): number | undefined {
  const known = models.filter(({ soc }) => soc);
  const sized = known.every(({ capacity }) => capacity);
  const weight = (model: Model) => (sized ? (model.capacity?.number ?? 0) : 1);
  const whole = known.reduce((sum, model) => sum + weight(model), 0);
  if (!whole) return undefined;
  return known.reduce((sum, model) => sum + weight(model) * (model.soc?.number ?? 0), 0) / whole;
}
