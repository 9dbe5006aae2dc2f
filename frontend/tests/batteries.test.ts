import { expect, test } from "vitest";

import { BatteryStore } from "../src/batteries.ts";
import { currentBatteries } from "../src/dashboard.ts";
import type { Connection } from "../src/hass.ts";
import { makeBattery } from "./home.ts";

const HOUSE = makeBattery({});
const RENAMED = { ...HOUSE, title: "Garden house" };

/** A store, and what sends it an event as the integration does. */
function connected(): [BatteryStore, (event: object) => void] {
  let send: (event: object) => void = () => undefined;
  const connection = {
    subscribeMessage: (callback: typeof send) => {
      send = callback;
      return Promise.resolve(() => Promise.resolve());
    },
  } as unknown as Connection;
  return [
    new BatteryStore(connection),
    (event) => {
      send(event);
    },
  ];
}

test("batteries that a card follows already are not waited for", async () => {
  const [store, send] = connected();
  store.subscribe(() => undefined);
  send({ batteries: [HOUSE] });
  const slow = new Promise((resolve) => setTimeout(resolve, 100));
  const found = currentBatteries(store, { [HOUSE.device_id]: HOUSE.title });
  expect(await Promise.race([found, slow])).toEqual([HOUSE]);
});

test("batteries that nothing follows any more are asked for again", async () => {
  const [store, send] = connected();
  store.subscribe(() => undefined)();
  send({ batteries: [HOUSE] });
  const found = currentBatteries(store, { [HOUSE.device_id]: HOUSE.title });
  const now = { ...HOUSE, holds_link: true };
  send({ batteries: [now] });
  expect(await found).toEqual([now]);
});

test("the name that Home Assistant shows is waited for", async () => {
  const [store, send] = connected();
  store.subscribe(() => undefined);
  send({ batteries: [HOUSE] });
  const found = currentBatteries(store, { [HOUSE.device_id]: RENAMED.title });
  send({ batteries: [HOUSE] });
  send({ batteries: [RENAMED] });
  expect(await found).toEqual([RENAMED]);
});
