// What can happen to a battery, in a real Home Assistant: the demo with four batteries, at DEMO_URL.
// Each scenario is shown at every width and colour scheme of VIEWS; its picture goes to PICTURES.
import assert from "node:assert/strict";
import { test } from "node:test";

import { VIEWS, ask, launchForTests, letHappen, openPage } from "./browser.mjs";

const { page, inspect } = await openPage(await launchForTests(), VIEWS[0]);

const frame = () => page.locator("jk-bms-battery-card .frame").first();
const button = (name) => frame().getByRole("button", { name });

async function show(view) {
  await page.goto(`/jk-bms/${view}`);
  await frame().locator(".cells li").first().waitFor();
}

const happen = (battery, more) => letHappen(page, battery, more);

const confirm = (name) => page.locator("dialog-box").getByRole("button", { name }).click();

test("a fault stands on top of the card and of the overview", async () => {
  await show("house");
  await happen("House", { state: { alarms: 1 << 11 } });
  await frame().locator(".alarm").getByText("Cell undervoltage").waitFor();
  assert.match(await frame().locator(".alarm").innerText(), /\(Cells? \d+/);
  await inspect("fault");
  await show("all");
  const worst = page.locator("jk-bms-overview-card .row").first();
  await worst.getByText("Cell undervoltage").waitFor();
  assert.match(await worst.innerText(), /^House/);
  await inspect("fault_overview");
  await happen("House");
  await worst.filter({ hasText: "Cell undervoltage" }).waitFor({ state: "detached" });
});

test("a control asks before it turns off, and shows what the battery reports", async () => {
  await show("house");
  await allowControls("House", "read_only");
  await frame().getByRole("switch").first().waitFor({ state: "detached" });
  await allowControls("House", "everyday");
  const charging = frame().getByRole("switch", { name: "Charging allowed", exact: true });
  await charging.waitFor();
  await inspect("controls");
  await charging.click();
  await confirm("Cancel");
  assert.equal(await charging.getAttribute("aria-checked"), "true");
  await charging.click();
  await confirm("OK");
  await frame().locator('[role="switch"][aria-checked="false"]').waitFor();
  await frame().locator(".chip").filter({ hasText: "Charge MOSFET" }).getByText("Off").waitFor();
  await inspect("charging_off");
  await charging.click();
  await frame().locator('[role="switch"][aria-checked="false"]').waitFor({ state: "detached" });
});

async function allowControls(title, controls) {
  const entries = await ask(page, { type: "config_entries/get", domain: "jk_bms" });
  const { entry_id } = entries.find((entry) => entry.title === title);
  const chosen = { interval: 30, link: "released", pause: 15, controls };
  await page.evaluate(
    async ([handler, options]) => {
      const { hass } = document.querySelector("home-assistant");
      const path = "config/config_entries/options/flow";
      const { flow_id } = await hass.callApi("POST", path, { handler });
      await hass.callApi("POST", `${path}/${flow_id}`, options);
    },
    [entry_id, chosen],
  );
}

test("the link is freed for the phone app and taken back", async () => {
  await show("house");
  await button("Free for the phone app").click();
  await confirm("OK");
  await frame().getByText("Free for other apps until").waitFor();
  await inspect("freed");
  await button("Reconnect").click();
  await button("Refresh").waitFor();
});

test("a battery that does not respond keeps its values and gives the reason", async () => {
  await show("camper");
  const cells = await frame().locator(".cells li").count();
  await happen("Camper", { silent: true });
  await frame().locator(".reason").waitFor();
  assert.equal(await frame().locator(".cells li").count(), cells);
  await inspect("lost");
  await happen("Camper");
  await frame().locator(".reason").waitFor({ state: "detached" });
});

test("four batteries have a row and a card each", async () => {
  await show("all");
  assert.equal(await page.locator("jk-bms-overview-card .row").count(), 4);
  assert.equal(await page.locator("jk-bms-battery-card").count(), 4);
  await inspect("four");
});
