// A bank and its packs of 32 cells in a real Home Assistant: the demo at DEMO_URL.
import assert from "node:assert/strict";
import { test } from "node:test";

import { VIEWS, launchForTests, letHappen, openPage } from "./browser.mjs";

const { ALL_VIEWS } = process.env;
/** Ms after which a pack that does not respond is missing, with an interval of 30 s. */
const MISSING = 240_000;

const { page, inspect } = await openPage(await launchForTests(), VIEWS[0]);

const card = () => page.locator("jk-bms-battery-card").first();

async function showBank() {
  await page.goto("/jk-bms/bank");
  await card().locator(".pack").nth(3).waitFor();
}

test("the packs of a bank are below it, and count once", async () => {
  await page.goto("/jk-bms/all");
  const rows = page.locator("jk-bms-overview-card .row");
  await rows.nth(4).waitFor();
  assert.match(await rows.first().innerText(), /^Bank/);
  assert.equal(await page.locator("jk-bms-overview-card .row.pack").count(), 4);
  // The bank is all there is, so its row is the total.
  assert.equal(await page.locator("jk-bms-overview-card .total").count(), 0);
  await inspect("bank_overview");
});

test("a bank shows its packs, its extremes and where they are", async () => {
  await showBank();
  const shown = await card().locator(".frame").innerText();
  assert.match(shown, /Packs online\s+4 \/ 4/);
  assert.match(shown, /Max cell voltage\s+\d+\.\d{3}\sV\s+House( \d)? · Cell \d+/);
  assert.match(shown, /Lowest temperature\s+[\d.]+\s°C\s+House/);
  assert.doesNotMatch(shown, /Connects only/);
  await inspect("bank");
});

test("a fault of a pack names it, and the cell", async () => {
  await letHappen(page, "House 2", { state: { alarms: 1 << 11 } });
  const alarm = card().locator(".alarm");
  await alarm.waitFor();
  assert.match(await alarm.innerText(), /^Cell undervoltage \(House 2, Cells? \d+/);
  await inspect("bank_fault");
  await letHappen(page, "House 2");
  await alarm.waitFor({ state: "detached" });
});

test("a pack that does not respond is missing", { skip: !ALL_VIEWS }, async () => {
  await letHappen(page, "House 3", { silent: true });
  await card().locator(".pack.gone").filter({ hasText: "House 3" }).waitFor({ timeout: MISSING });
  await card().locator(".extremes").getByText("Incomplete").first().waitFor();
  await inspect("bank_incomplete");
  await letHappen(page, "House 3");
  await card().locator(".pack.gone").waitFor({ state: "detached" });
});

test("32 cells are shown, and a tap on their graph opens the heat map of the day", async () => {
  await page.goto("/jk-bms/house");
  await card().locator(".cells li").nth(31).waitFor();
  const graph = card().locator("button.graph");
  await graph.click();
  await card().locator(".heat-map rect").nth(32).waitFor();
  assert.match(
    await card().locator(".heat-map svg").getAttribute("aria-label"),
    /^Voltage of 32 cells over 24 hours/,
  );
  const [numbers, times] = await card().locator(".heat-map .ends").allInnerTexts();
  assert.match(numbers, /^1\s+32$/);
  // A day ago it was as late as it is now.
  assert.match(times, /^(\d+:\d\d [AP]M)\s+\d+:\d\d [AP]M\s+\1$/);
  await inspect("heat_map");
  await graph.click();
  await card().locator(".heat-map").waitFor({ state: "detached" });
});
