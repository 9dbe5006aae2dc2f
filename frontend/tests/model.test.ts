import { describe, expect, test } from "vitest";

import { Memory, buildModel, scaleOf, totalCharge, urgency, windowOf } from "../src/model.ts";
import { LIMITS, LIVE, makeBattery, makeHass } from "./home.ts";

const CELLS = {
  "sensor.cell_voltage_1": "3.330",
  "sensor.cell_voltage_2": "3.326",
  "sensor.cell_voltage_10": "3.330",
  "sensor.cell_voltage_9": "3.328",
};

function model(states: Record<string, string>, live = LIVE, units = {}) {
  return buildModel(makeHass(states, units), makeBattery(states), live, new Memory());
}

describe("cells", () => {
  test("keep the numbers of the battery, in its order", () => {
    expect(model(CELLS).cells.map(({ cell }) => cell)).toEqual([1, 2, 9, 10]);
  });

  test("all at the highest and the lowest voltage are marked", () => {
    const { cells, spread, average } = model(CELLS);
    expect(cells.filter(({ highest }) => highest).map(({ cell }) => cell)).toEqual([1, 10]);
    expect(cells.filter(({ lowest }) => lowest).map(({ cell }) => cell)).toEqual([2]);
    expect(spread).toBeCloseTo(0.004);
    expect(average).toBeCloseTo(3.3285);
  });

  test("of one voltage are not marked at all", () => {
    const { cells } = model({ "sensor.cell_voltage_1": "3.3", "sensor.cell_voltage_2": "3.3" });
    expect(cells.some(({ lowest, highest }) => lowest || highest)).toBe(false);
  });

  test("shown in mV by the user's choice are still drawn in V", () => {
    const [cell] = model({ "sensor.cell_voltage_1": "3330" }, LIVE, {
      "sensor.cell_voltage_1": "mV",
    }).cells;
    expect(cell?.number).toBeCloseTo(3.33);
    expect(cell?.short).toBe("3330");
  });

  test("that are unavailable or disabled are absent", () => {
    const { cells } = model({ ...CELLS, "sensor.cell_voltage_2": "unavailable" });
    expect(cells.map(({ cell }) => cell)).toEqual([1, 9, 10]);
  });

  test("carry the wire resistance and its alarm", () => {
    const { cells } = model(CELLS, {
      ...LIVE,
      cell_resistance: [0.06, 0],
      wire_resistance_cells: [2],
    });
    expect(cells[0]).toMatchObject({ resistance: 0.06, alarm: false });
    expect(cells[1]).toMatchObject({ resistance: undefined, alarm: true });
  });
});

describe("scale", () => {
  test("is the battery's own limits", () => {
    const scale = scaleOf(LIMITS, [3.3]);
    expect(scale).toMatchObject({ low: 2.5, high: 3.65 });
    expect(scale.empty).toBeCloseTo(0.087);
    expect(scale.full).toBeCloseTo(0.826);
  });

  test("is around the cells where the limits are not known", () => {
    const scale = scaleOf(null, [3.3, 3.4]);
    expect(scale.low).toBeCloseTo(3.2);
    expect(scale.high).toBeCloseTo(3.5);
    expect(scale.empty).toBeUndefined();
  });

  test("around the average is a round number that holds all cells", () => {
    expect(windowOf(model(CELLS).cells)).toBe(0.005);
  });
});

describe("flow", () => {
  test.each([
    ["100", "charging"],
    ["-100", "discharging"],
    ["0.4", "idle"],
  ])("of %s W is %s", (power, flow) => {
    expect(model({ "sensor.power": power }).flow).toBe(flow);
  });

  test("follows the current where there is no power, and is absent without both", () => {
    expect(model({ "sensor.current": "-2" }).flow).toBe("discharging");
    expect(model({}).flow).toBeUndefined();
  });
});

describe("balancer", () => {
  test("moves charge from the highest cells to the lowest", () => {
    const states = { ...CELLS, "sensor.balancing_current": "0.9" };
    for (const state of ["charging", "discharging"]) {
      const { balancer } = model({ ...states, "sensor.balancer_state": state });
      expect(balancer).toMatchObject({ current: { number: 0.9 }, from: [1, 10], to: [2] });
    }
    expect(model({ ...states, "sensor.balancer_state": "off" }).balancer).toBeUndefined();
  });

  test.each([
    ["0.02", "on", true],
    [undefined, "on", true],
    ["0.9", "off", false],
    ["-0.9", undefined, true],
    ["0.02", undefined, false],
    [undefined, undefined, false],
  ])("without its state, at %s A and balancing %s, works: %s", (current, balancing, works) => {
    const { balancer } = model({
      ...CELLS,
      ...(current === undefined ? {} : { "sensor.balancing_current": current }),
      ...(balancing === undefined ? {} : { "binary_sensor.balancing": balancing }),
    });
    expect(Boolean(balancer)).toBe(works);
  });
});

test("faults name the cells that are meant", () => {
  const { faults } = model(CELLS, {
    ...LIVE,
    faults: ["cell_undervoltage", "wire_resistance", "cell_overvoltage", "charge_mosfet"],
    wire_resistance_cells: [9],
  });
  expect(faults).toEqual([
    { key: "cell_undervoltage", cells: [2] },
    { key: "wire_resistance", cells: [9] },
    { key: "cell_overvoltage", cells: [1, 10] },
    { key: "charge_mosfet", cells: [] },
  ]);
});

test("a control stands beside the state that it switches", () => {
  const states = { "binary_sensor.charging": "on", "binary_sensor.discharging": "on" };
  expect(model(states).states).toHaveLength(2);
  const controlled = model({ ...states, "switch.charging": "on" });
  expect(controlled.switches.map(({ entityId }) => entityId)).toEqual(["switch.renamed_charging"]);
  expect(controlled.states.map(({ entityId }) => entityId)).toEqual([
    "binary_sensor.renamed_charging",
    "binary_sensor.renamed_discharging",
  ]);
});

test("the last values stay, marked as stale, while a battery is unavailable", () => {
  const memory = new Memory();
  const battery = makeBattery({ "sensor.power": "" });
  const now = buildModel(makeHass({ "sensor.power": "100" }), battery, LIVE, memory);
  expect(now.stale).toBe(false);
  const later = buildModel(makeHass({ "sensor.power": "unavailable" }), battery, LIVE, memory);
  expect(later).toMatchObject({ stale: true, power: { number: 100 } });
});

test("a bank that lacks a pack shows no old sums, and all of them in grey once it is lost", () => {
  const memory = new Memory();
  const bank = {
    ...makeBattery({ "sensor.power": "", "sensor.max_cell_voltage": "" }),
    packs: ["one", "other"],
  };
  const shown = (power: string, cell: string, available = true) => {
    const states = { "sensor.power": power, "sensor.max_cell_voltage": cell };
    const model = buildModel(makeHass(states), bank, { ...LIVE, available }, memory);
    const numbers = Object.keys(states).map((key) => model.value(key)?.number);
    return [model.stale, ...numbers];
  };
  expect(shown("100", "3.33")).toEqual([false, 100, 3.33]);
  expect(shown("unavailable", "3.32")).toEqual([false, undefined, 3.32]);
  expect(shown("unavailable", "unavailable", false)).toEqual([true, 100, 3.32]);
});

test.each([
  [{}, false],
  [{ reason: { key: "not_reachable", placeholders: {} } }, true],
  [{ resumes_at: "2026-11-28T13:00:00+00:00" }, true],
])("values are outdated with %o: %s", (changed, outdated) => {
  expect(model({ "sensor.power": "100" }, { ...LIVE, ...changed }).outdated).toBe(outdated);
});

test("a battery that was never seen available shows nothing", () => {
  expect(model({ "sensor.power": "unavailable" })).toMatchObject({ power: undefined, cells: [] });
});

test.each([
  ["7200", "s", 7200],
  ["2", "h", 7200],
])("with %s %s in its sensor a battery is full in %s s", (state, unit, seconds) => {
  const states = { "sensor.power": "10", "sensor.time_to_full": state };
  const live = { ...LIVE, time_to_full: 60 };
  expect(model(states, live, { "sensor.time_to_full": unit }).timeLeft).toBe(seconds);
});

test("the time left is that of the direction, without a sensor too", () => {
  const live = { ...LIVE, time_to_full: 60, time_to_empty: 120 };
  expect(model({ "sensor.power": "10" }, live).timeLeft).toBe(60);
  expect(model({ "sensor.power": "-10" }, live).timeLeft).toBe(120);
  expect(model({ "sensor.power": "0" }, live).timeLeft).toBeUndefined();
});

test("the charge of all counts by capacity", () => {
  const of = (soc: string, capacity: string) =>
    model({ "sensor.state_of_charge": soc, "sensor.full_charge_capacity": capacity });
  expect(totalCharge([of("100", "300"), of("0", "100")])).toBe(75);
  expect(totalCharge([of("100", "300"), model({ "sensor.state_of_charge": "0" })])).toBe(50);
  expect(totalCharge([model({})])).toBeUndefined();
});

test("faults come first, then those that are not read, then the emptiest", () => {
  const of = (soc: string, faults: string[], lost: boolean) =>
    urgency({ model: model({ "sensor.state_of_charge": soc }, { ...LIVE, faults }), lost });
  const order = [
    of("90", ["charge_mosfet"], false),
    of("80", [], true),
    of("20", [], false),
    of("70", [], false),
  ];
  expect(order).toEqual([...order].sort((a, b) => a - b));
});
