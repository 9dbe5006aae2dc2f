// The dashboard in a real Home Assistant: the demo with three batteries, at DEMO_URL, which looks like the
// VIEW-th of VIEWS. Pictures of what is inspected go to PICTURES.
import assert from "node:assert/strict";
import { test } from "node:test";

import { VIEWS, ask, launchForTests, openPage, ours, reportErrorCards } from "./browser.mjs";

const view = VIEWS[Number(process.env.VIEW ?? 0)];
const isPhone = view.viewport.width < 500;

const browser = await launchForTests();

async function open(path, prepare = async () => {}) {
  const { page, errors, inspect } = await openPage(browser, view);
  await prepare(page);
  await page.goto(path);
  const inspectOne = (name, views = [view]) => inspect(name, views);
  const hasNoErrors = () => assert.deepEqual(ours(errors), []);
  // The normal run has no time to inspect everything.
  const inspectMore = process.env.ALL_VIEWS ? inspectOne : hasNoErrors;
  return { page, hasNoErrors, inspect: inspectOne, inspectMore };
}

const lastCell = (page) => page.locator("jk-bms-battery-card .cells li").nth(15);

/** Make a dashboard of one view, which has a card in each of its sections. */
async function makeDashboard(page, url_path, cards) {
  const dashboard = { url_path, title: "Test", mode: "storage" };
  await ask(page, { type: "lovelace/dashboards/create", ...dashboard });
  const sections = cards.map((card) => ({ type: "grid", cards: card ? [card] : [] }));
  const config = { views: [{ type: "sections", sections }] };
  await ask(page, { type: "lovelace/config/save", url_path, config });
}

async function idOf(page, name) {
  const devices = await ask(page, { type: "config/device_registry/list" });
  return devices.find((device) => device.name === name).id;
}

test("no error card is shown while a page loads, with a cold cache or a warm one", async () => {
  const { page: first } = await open("/jk-bms/house");
  await lastCell(first).waitFor();
  await makeDashboard(first, "ordinary-cards", [
    { type: "custom:jk-bms-overview-card" },
    { type: "custom:jk-bms-battery-card", device_id: await idOf(first, "House") },
  ]);
  await first.context().close();
  const { page, inspectMore } = await open("/ordinary-cards/0", reportErrorCards);
  await lastCell(page).waitFor();
  await page.reload();
  await lastCell(page).waitFor();
  await inspectMore("ordinary_cards");
  await page.context().close();
});

test("no error card is shown although Home Assistant's own scripts come late", async () => {
  const { page, hasNoErrors } = await open("/ordinary-cards/0", async (page) => {
    await reportErrorCards(page);
    await page.route(/\/frontend_latest\/(app|core)\..*\.js/, async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      await route.continue();
    });
  });
  await lastCell(page).waitFor();
  await page.goto("/jk-bms/house");
  await lastCell(page).waitFor();
  hasNoErrors();
  await page.context().close();
});

async function nameDevice(page, name, name_by_user) {
  const device_id = await idOf(page, name);
  await ask(page, { type: "config/device_registry/update", device_id, name_by_user });
}

test("each battery has a view, to which a tap on its row leads, and the name of its device", async () => {
  const { page, inspectMore } = await open("/jk-bms");
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
  await inspectMore("device_renamed");
  await nameDevice(page, "Camper", null);
  await titled("Camper");
  await page.context().close();
});

test("the page of a device leads to the view of its battery", async () => {
  const { page, hasNoErrors } = await open("/jk-bms/house");
  await lastCell(page).waitFor();
  const id = await idOf(page, "House");
  await page.goto(`/config/devices/device/${id}`);
  await page.getByText("Visit", { exact: true }).click();
  await page.waitForURL("**/jk-bms/house");
  await lastCell(page).waitFor();
  hasNoErrors();
  await page.context().close();
});

test("a renamed entity stays, a disabled one goes, and the others keep their numbers", async () => {
  const { page, inspect } = await open("/jk-bms/house");
  await lastCell(page).waitFor();
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
  await lastCell(page).waitFor({ state: "detached" });
  assert.deepEqual(await page.locator("jk-bms-battery-card .cells .number").allInnerTexts(), [
    "1",
    "2",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
  ]);
  await inspect("entity_disabled");
  await page.context().close();
});

test("the overview fits a phone, in the dark too", { skip: process.env.ALL_VIEWS }, async () => {
  const { page, inspect } = await open("/jk-bms/all");
  await page.locator("jk-bms-battery-card .cells li").first().waitFor();
  const viewport = { width: 390, height: 1200 };
  const phones = ["light", "dark"].map((colorScheme) => ({ viewport, colorScheme }));
  await inspect("all", phones);
  await page.context().close();
});

test("the card is added by the picker, beside a tile with the cells, and its editor is a form", async () => {
  const { page, inspect, inspectMore } = await open("/jk-bms/all");
  await page.locator("jk-bms-overview-card .row").first().waitFor();
  const entity = "sensor.camper_delta_cell_voltage";
  const tile = { type: "tile", entity, features: [{ type: "custom:jk-bms-cells-feature" }] };
  await makeDashboard(page, "test-board", [null, tile]);
  await page.goto("/test-board/0?edit=1");
  const cells = page.locator("hui-tile-card jk-bms-cells-feature .strip span");
  await cells.nth(15).waitFor();
  await page.getByRole("button", { name: "Add card" }).first().click();
  await page.getByRole("tab", { name: "By card" }).dispatchEvent("click");
  await page
    .getByPlaceholder(/search/i)
    .last()
    .fill("JK BMS battery");
  await page.locator("jk-bms-battery-card .cells li").first().waitFor();
  await inspectMore("picker");
  // The picker has a layer above each preview, which takes the click.
  await page.getByText("JK BMS battery").first().click({ force: true });
  const dialog = page.locator("hui-dialog-edit-card");
  await dialog.locator("ha-selector-device").waitFor();
  await dialog.locator("ha-selector-select").getByText("Parts, in this order").first().waitFor();
  await inspect("editor");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.locator("hui-dialog-edit-card jk-bms-battery-card").waitFor({ state: "detached" });
  const saved = await ask(page, { type: "lovelace/config", url_path: "test-board" });
  const [card] = saved.views[0].sections[0].cards;
  assert.equal(card.type, "custom:jk-bms-battery-card");
  const device = await page.evaluate(
    (id) => document.querySelector("home-assistant").hass.devices[id].model,
    card.device_id,
  );
  assert.match(device, /^JK/);
  await inspectMore("picked");
  await page.context().close();
});

test("the dashboard is added with three clicks", async () => {
  const { page, inspectMore } = await open("/config/lovelace/dashboards");
  await page.getByText("Add dashboard").first().click();
  await page.getByText("JK BMS batteries").first().click();
  await page.getByRole("button", { name: "Create" }).last().click();
  await page.locator("ha-config-lovelace-dashboards").getByText("All batteries").waitFor();
  if (isPhone) {
    await page.goto("/jk-bms");
    await page.getByRole("button", { name: "Sidebar toggle" }).click();
  }
  await page.locator("ha-sidebar").getByText("All batteries").click();
  await page.waitForURL("**/all-batteries/all");
  await page.locator("jk-bms-overview-card .row").nth(2).waitFor();
  const config = await ask(page, { type: "lovelace/config", url_path: "all-batteries" });
  assert.deepEqual(config, { strategy: { type: "custom:jk-bms" } });
  await inspectMore("dashboard_added");
  await page.context().close();
});

test("taking control leaves a dashboard of ordinary cards", async () => {
  const { page, inspectMore } = await open("/jk-bms/all");
  await page.locator("jk-bms-overview-card .row").nth(2).waitFor();
  if (isPhone) {
    await page.getByRole("button", { name: "Open dashboard menu" }).click();
    await page.getByRole("menuitem", { name: "Edit dashboard" }).click();
  } else {
    await page.getByRole("button", { name: "Edit" }).last().click();
  }
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
  await inspectMore("controlled");
  await page.context().close();
});
