import { expect, test } from "vitest";

import { makeDashboard } from "../src/dashboard.ts";
import en from "../src/words/en.json" with { type: "json" };
import { wordsOf } from "../src/words.ts";
import { makeBattery } from "./home.ts";

const HOUSE = makeBattery({
  "sensor.power": "1",
  "sensor.total_voltage": "1",
  "sensor.mosfet_temperature": "1",
  "sensor.state_of_charge": "1",
  "binary_sensor.problem": "off",
  "switch.bluetooth_link": "on",
});
const SHED = makeBattery({ "sensor.charging_cycles": "52" }, "Shed");

type Config = Record<string, unknown> & { views: { title: string; path: string }[] };

function dashboard(...batteries: Parameters<typeof makeDashboard>[0]): Config {
  return makeDashboard(batteries, wordsOf(en)) as Config;
}

test("every battery has a view, several have an overview", () => {
  expect(dashboard(HOUSE).views.map(({ path }) => path)).toEqual(["house"]);
  const { views } = dashboard(HOUSE, SHED);
  expect(views.map(({ path }) => path)).toEqual(["all", "house", "shed"]);
});

test("a bank comes before its packs, with what only a bank has", () => {
  const values = { "sensor.pack_voltage_spread": "0.1", "sensor.max_temperature": "25" };
  const bank = { ...makeBattery(values, "Zoo"), packs: ["entry"] };
  const { views } = dashboard(HOUSE, SHED, bank);
  expect(views.map(({ path }) => path)).toEqual(["all", "zoo", "house", "shed"]);
  const shown = JSON.stringify(views[1]).match(/\w+\.renamed_\w+/g);
  expect(new Set(shown)).toEqual(new Set(Object.values(bank.entities)));
});

test("names are in the order of their numbers, whatever the ids are", () => {
  const batteries = ["House 10", "House 2", "House"].map((title, index) => ({
    ...makeBattery({}, title),
    device_id: String(9 - index),
  }));
  const titles = dashboard(...batteries).views.map(({ title }) => title);
  expect(titles.slice(1)).toEqual(["House", "House 2", "House 10"]);
});

test("no battery is told so", () => {
  expect(JSON.stringify(dashboard())).toContain("No battery has been added yet");
});

test("what a battery lacks is not on its view", () => {
  const [view] = dashboard(SHED).views;
  expect(JSON.stringify(view)).not.toContain("undefined");
  expect(JSON.stringify(view)).not.toContain("heading");
});

test("only entities that exist are shown", () => {
  const shown = JSON.stringify(dashboard(HOUSE)).match(/\w+\.renamed_\w+/g);
  expect(new Set(shown)).toEqual(new Set(Object.values(HOUSE.entities)));
});

test("the tile of a button has no state, which would be Unknown", () => {
  const battery = makeBattery({ "button.refresh": "unknown", "switch.bluetooth_link": "on" });
  const tiles = JSON.stringify(dashboard(battery)).match(/"[^"]+",[^,]*,"hide_state":\w+/g);
  expect(tiles).toEqual([
    '"switch.renamed_bluetooth_link","name":{"type":"entity"},"hide_state":false',
    '"button.renamed_refresh","name":{"type":"entity"},"hide_state":true',
  ]);
});

test("a view keeps its number when the user renames a battery", () => {
  const devices = Object.fromEntries(
    ["House", "Camper"].map((name) => [name, { id: name, name, name_by_user: null }]),
  );
  const paths = (...titles: readonly [string, string][]) => {
    const batteries = titles.map(([id, title]) => ({
      ...makeBattery({}, title),
      device_id: id,
      path: id.toLowerCase(),
    }));
    return (makeDashboard(batteries, wordsOf(en), devices) as Config).views.map(({ path }) => path);
  };
  expect(paths(["Camper", "Camper"], ["House", "House"])).toEqual(["all", "camper", "house"]);
  expect(paths(["House", "House"], ["Camper", "Van"])).toEqual(["all", "camper", "house"]);
});

test("the graph of the highest and the lowest cell says which line is which", () => {
  const battery = makeBattery({
    "sensor.max_cell_voltage": "3.3",
    "sensor.min_cell_voltage": "3.2",
  });
  expect(JSON.stringify(dashboard(battery))).not.toContain("hide_legend");
});
