// The dashboard in a real Home Assistant: the demo with three batteries, at DEMO_URL.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask, launch, openPage, ours, seriousProblems } from "./browser.mjs";

const URL_OF_DEMO = process.env.DEMO_URL;
/** Ms that a page of Home Assistant has on a busy machine. */
const SLOW = 60_000;

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser.close());

async function open(path, options = {}, prepare = async () => {}) {
  const opened = await openPage(browser, { viewport: { width: 1440, height: 1100 }, ...options });
  opened.page.setDefaultTimeout(SLOW);
  await prepare(opened.page);
  await opened.page.goto(URL_OF_DEMO + path);
  return opened;
}

test("the card appears although Home Assistant's own scripts come late", async () => {
  const { page, errors } = await open("/jk-bms/house", {}, (page) =>
    page.route(/\/frontend_latest\/(app|core)\..*\.js/, async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      await route.continue();
    }),
  );
  await page.locator("jk-bms-battery-card .cells li").nth(15).waitFor();
  assert.equal(await page.locator("hui-error-card").count(), 0);
  assert.deepEqual(ours(errors), []);
  await page.context().close();
});

const CARDS = "jk-bms-battery-card, jk-bms-overview-card, jk-bms-cells-feature";

async function nameDevice(page, name, name_by_user) {
  const devices = await ask(page, { type: "config/device_registry/list" });
  const { id: device_id } = devices.find((device) => device.name === name);
  await ask(page, { type: "config/device_registry/update", device_id, name_by_user });
}

test("each battery has a view, to which a tap on its row leads, and the name of its device", async () => {
  const { page, errors } = await open("/jk-bms");
  await page.locator("jk-bms-overview-card .row").nth(2).waitFor();
  assert.equal(await page.locator("jk-bms-battery-card").count(), 3);
  await page.locator("jk-bms-overview-card .row").filter({ hasText: "Camper" }).click();
  await page.waitForURL("**/jk-bms/camper");
  const titled = (name) => page.locator("jk-bms-battery-card h2").getByText(name).first().waitFor();
  await titled("Camper");
  await nameDevice(page, "Camper", "Van");
  // Then the dashboard has been made again, in which this battery is no longer the first by its name.
  await page.locator("ha-tab-group-tab").getByText("Van").waitFor();
  await titled("Van");
  await nameDevice(page, "Camper", null);
  await titled("Camper");
  assert.deepEqual(ours(errors), []);
  await page.context().close();
});

test("a renamed entity stays, a disabled one goes, and the others keep their numbers", async () => {
  const { page, errors } = await open("/jk-bms/house");
  await page.locator("jk-bms-battery-card .cells li").nth(15).waitFor();
  await ask(page, {
    type: "config/entity_registry/update",
    entity_id: "sensor.house_cell_voltage_7",
    new_entity_id: "sensor.weak_one",
    name: "The weak one",
  });
  await ask(page, {
    type: "config/entity_registry/update",
    entity_id: "sensor.house_cell_voltage_3",
    disabled_by: "user",
  });
  await page.getByRole("button", { name: "The weak one" }).waitFor();
  await page.waitForFunction(() => {
    const find = (root) => {
      const card = root.querySelector("jk-bms-battery-card");
      if (card) return card;
      for (const { shadowRoot } of root.querySelectorAll("*")) {
        const found = shadowRoot && find(shadowRoot);
        if (found) return found;
      }
      return null;
    };
    const numbers = [...find(document).shadowRoot.querySelectorAll(".cells .number")];
    return (
      numbers.map((each) => each.textContent.trim()).join() ===
      "1,2,4,5,6,7,8,9,10,11,12,13,14,15,16"
    );
  });
  assert.deepEqual(await seriousProblems(page, CARDS), []);
  assert.deepEqual(ours(errors), []);
  await page.context().close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious on a phone, ${colorScheme}`, async () => {
    const { page, errors } = await open("/jk-bms/all", {
      viewport: { width: 390, height: 1200 },
      colorScheme,
    });
    await page.locator("jk-bms-battery-card .cells li").first().waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} px too wide`);
    const problems = await seriousProblems(page, CARDS);
    assert.deepEqual(problems, []);
    assert.deepEqual(ours(errors), []);
    await page.context().close();
  });
}

test("the card is added by the picker, beside a tile with the cells, and its editor is a form", async () => {
  const { page, errors } = await open("/jk-bms/all");
  await page.locator("jk-bms-overview-card .row").first().waitFor();
  const dashboard = { url_path: "test-board", title: "Test", mode: "storage" };
  await ask(page, { type: "lovelace/dashboards/create", ...dashboard });
  const entity = "sensor.camper_delta_cell_voltage";
  const tile = { type: "tile", entity, features: [{ type: "custom:jk-bms-cells-feature" }] };
  const sections = [
    { type: "grid", cards: [] },
    { type: "grid", cards: [tile] },
  ];
  const config = { views: [{ type: "sections", sections }] };
  await ask(page, { type: "lovelace/config/save", url_path: dashboard.url_path, config });
  await page.goto(`${URL_OF_DEMO}/test-board/0?edit=1`);
  const cells = page.locator("hui-tile-card jk-bms-cells-feature .strip span");
  await cells.nth(15).waitFor();
  await page.getByRole("button", { name: "Add card" }).first().click();
  await page.getByRole("tab", { name: "By card" }).dispatchEvent("click");
  await page
    .getByPlaceholder(/search/i)
    .last()
    .fill("JK BMS battery");
  await page.locator("jk-bms-battery-card .cells li").first().waitFor();
  // The picker has a layer above each preview, which takes the click.
  await page.getByText("JK BMS battery").first().click({ force: true });
  const dialog = page.locator("hui-dialog-edit-card");
  await dialog.locator("ha-selector-device").waitFor();
  await dialog.locator("ha-selector-select").getByText("Parts, in this order").first().waitFor();
  assert.deepEqual(await seriousProblems(page, CARDS), []);
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.locator("hui-dialog-edit-card jk-bms-battery-card").waitFor({ state: "detached" });
  const saved = await ask(page, { type: "lovelace/config", url_path: dashboard.url_path });
  const [card] = saved.views[0].sections[0].cards;
  assert.equal(card.type, "custom:jk-bms-battery-card");
  const device = await page.evaluate(
    (id) => document.querySelector("home-assistant").hass.devices[id].model,
    card.device_id,
  );
  assert.match(device, /^JK/);
  assert.deepEqual(ours(errors), []);
  await page.context().close();
});

test("the dashboard is added with three clicks", async () => {
  const { page, errors } = await open("/config/lovelace/dashboards");
  await page.getByText("Add dashboard").first().click();
  await page.getByText("JK BMS batteries").first().click();
  await page.getByRole("button", { name: "Create" }).last().click();
  await page.locator("ha-sidebar").getByText("All batteries").waitFor();
  const config = await ask(page, { type: "lovelace/config", url_path: "all-batteries" });
  assert.deepEqual(config, { strategy: { type: "custom:jk-bms" } });
  assert.deepEqual(ours(errors), []);
  await page.context().close();
});

test("taking control leaves a dashboard of ordinary cards", async () => {
  const { page, errors } = await open("/jk-bms/all");
  await page.locator("jk-bms-overview-card .row").nth(2).waitFor();
  await page.getByRole("button", { name: "Edit" }).last().click();
  const editor = page.locator("dialog-dashboard-strategy-editor");
  await editor.getByText("This dashboard shows every battery").waitFor();
  await editor.locator("ha-dropdown ha-icon-button").first().click();
  await editor.getByRole("menuitem", { name: "Take control" }).click();
  const save = page.locator("hui-dialog-save-config");
  await save.getByRole("button", { name: "Take control" }).click();
  await save.waitFor({ state: "hidden" });
  const { views } = await ask(page, { type: "lovelace/config", url_path: "jk-bms" });
  assert.deepEqual(
    views.map(({ title }) => title),
    ["All batteries", "Camper", "House", "Shed"],
  );
  await page.locator("jk-bms-battery-card .cells li").first().waitFor();
  assert.deepEqual(ours(errors), []);
  await page.context().close();
});
