// Walk from a battery that has just been added to its dashboard, from `scripts/demo` at DEMO_URL, at the
// pace of a person. The pictures go into the folder TO: each file name ends with the ms that it is
// shown. It has to take less than a minute.
import assert from "node:assert/strict";

import { ask, launch, openPage } from "./browser.mjs";

/** Ms that a person takes to read a page, and to find the next button. */
const READ = 2500;
const FIND = 1000;
const { TO } = process.env;

const browser = await launch();
const { page } = await openPage(browser, { viewport: { width: 900, height: 640 } });

let start;
let number = 0;

/** Read what is shown, have it pictured, and click. */
async function click(target, reading = READ) {
  await target.scrollIntoViewIfNeeded();
  await page.waitForTimeout(reading);
  await shoot(reading + FIND);
  await page.waitForTimeout(FIND);
  await target.click();
}

async function shoot(ms) {
  number += 1;
  await page.screenshot({ path: `${TO}/${String(number).padStart(2, "0")}-${ms}.png` });
  if (start) console.log(`${((Date.now() - start) / 1000).toFixed(1)} s: picture ${number}`);
}

await page.goto("/config/integrations/dashboard");
await page.locator("ha-config-flow-card").first().waitFor();
// The demo begins with its dashboard; a fresh installation has none.
for (const { id } of await ask(page, { type: "lovelace/dashboards/list" })) {
  await ask(page, { type: "lovelace/dashboards/delete", dashboard_id: id });
}
await page.locator("ha-config-flow-card").getByText("Add", { exact: true }).click();
const flow = page.locator("dialog-data-entry-flow");
await flow.getByText("Read battery", { exact: true }).click();
await flow.getByText("Add", { exact: true }).click();

await flow.getByText("To show the battery on a dashboard").waitFor();
start = Date.now();
await click(flow.getByText("Skip and finish"));
// The way that the last page of the dialog describes.
await page.reload();
await page.goto("/config/lovelace/dashboards");
await click(page.getByText("Add dashboard").first(), FIND);
await click(page.getByText("JK BMS batteries").first());
await click(page.getByRole("button", { name: "Create" }).last());
await click(page.locator("ha-sidebar").getByText("All batteries"), FIND);
await page.locator("jk-bms-battery-card .cells li").nth(15).waitFor();
const seconds = (Date.now() - start) / 1000;
await page.waitForTimeout(3000);
await shoot(4000);
console.log(`From the added battery to its dashboard: ${seconds.toFixed(1)} s`);
await browser.close();
assert.ok(seconds < 60);
