// Take the pictures for docs/images from `scripts/demo --added --batteries 4` at DEMO_URL, with
// CHROMIUM set to the browser: scripts/pictures does all of it.
import { act, launch, letHappen, openPage } from "./browser.mjs";

const IMAGES = new URL("../../docs/images/", import.meta.url);
const WIDE = { width: 1440, height: 1330 };
const PHONE = { width: 390, height: 900 };
const PICTURES = [
  { name: "dashboard", path: "/jk-bms/all", viewport: WIDE, colorScheme: "light" },
  { name: "dashboard_dark", path: "/jk-bms/all", viewport: WIDE, colorScheme: "dark" },
  {
    name: "battery",
    path: "/jk-bms/house",
    viewport: { ...WIDE, height: 960 },
    colorScheme: "light",
  },
  { name: "phone", path: "/jk-bms/house", viewport: PHONE, colorScheme: "light" },
  { name: "phone_overview_dark", path: "/jk-bms/all", viewport: PHONE, colorScheme: "dark" },
];

const browser = await launch();
for (const { name, path, ...options } of PICTURES) {
  const { page } = await openPage(browser, options);
  await page.goto(path);
  await page.locator("jk-bms-battery-card .graphs").first().waitFor();
  // Home Assistant's own graphs draw themselves.
  await page.waitForTimeout(5000);
  await page.screenshot({ path: new URL(`${name}.png`, IMAGES).pathname });
  await page.context().close();
}

/** Take a picture of a page that Home Assistant itself draws. */
async function shoot(name, path, height, prepare = async () => {}) {
  const { page } = await openPage(browser, { viewport: { width: 1280, height } });
  await page.goto(path);
  await prepare(page);
  await page.waitForTimeout(5000);
  await page.screenshot({ path: new URL(`${name}.png`, IMAGES).pathname });
  await page.context().close();
}

await shoot("device", "/config/integrations/integration/jk_bms", 1150, async (page) => {
  await page.getByText("House", { exact: true }).first().waitFor();
  const id = await page.evaluate(async () => {
    const { hass } = document.querySelector("home-assistant");
    const devices = await hass.callWS({ type: "config/device_registry/list" });
    return devices.find(({ name }) => name === "House").id;
  });
  await page.goto(`/config/devices/device/${id}`);
});
await shoot("options", "/config/integrations/integration/jk_bms", 880, async (page) => {
  await page.getByLabel("Configure", { exact: true }).first().click();
});
await shoot("confirm", "/jk-bms/house", 800, async (page) => {
  const charging = page.getByRole("switch", { name: "Charging allowed", exact: true });
  await charging.click();
  await page.locator("dialog-box").getByRole("button", { name: "OK" }).waitFor();
});
await shoot("energy", "/energy", 800, async (page) => {
  // Yesterday, which is a whole day
  await page.getByRole("button", { name: "Previous" }).first().click();
});

/** Take a picture of the card of a battery alone, once the preparation is done. */
async function shootCard(name, battery, colorScheme, prepare) {
  const { page } = await openPage(browser, { viewport: { width: 390, height: 1400 }, colorScheme });
  await page.goto(`/jk-bms/${battery.toLowerCase()}`);
  const card = page.locator("jk-bms-battery-card").first();
  await card.locator(".graphs").waitFor();
  await prepare(page, card);
  await page.waitForTimeout(2000);
  const { y, height } = await card.boundingBox();
  await page.screenshot({
    path: new URL(`${name}.png`, IMAGES).pathname,
    clip: { x: 0, y: y - 8, width: 390, height: height + 16 },
  });
  await page.context().close();
}

await shootCard("controls", "House", "dark", async (page, card) => {
  await act(page, "switch", "turn_off", { entity_id: "switch.house_charging" });
  await letHappen(page, "House");
  await card.locator(".chip").filter({ hasText: "Charge MOSFET" }).getByText("Off").waitFor();
});
await shootCard("fault", "House", "light", async (page, card) => {
  await act(page, "switch", "turn_on", { entity_id: "switch.house_charging" });
  const cells = Array.from({ length: 16 }, (_, n) => 2.952 + ((n * 5) % 8) / 500);
  cells[13] = 2.49;
  const state = { alarms: 1 << 11, soc: 4, cells, current: 0, discharging: false };
  await letHappen(page, "House", { state });
  await card.locator(".alarm").first().waitFor();
});
await shootCard("lost", "Camper", "light", async (page, card) => {
  await letHappen(page, "Camper", { silent: true });
  await card.locator(".reason").waitFor();
});
await shootCard("freed", "Boat", "light", async (page, card) => {
  await card.getByRole("button", { name: "Free for the phone app" }).click();
  await page.locator("dialog-box").getByRole("button", { name: "OK" }).click();
  await card.locator(".freed").waitFor();
});
await shoot("repair", "/config/repairs", 800, async (page) => {
  await page.locator("home-assistant-main").waitFor();
  // A temperature sensor that cannot be right
  await letHappen(page, "House", { state: { temperatures: [160, 24.5, 24.9, 25.1] } });
  await page.getByText("JK BMS").first().click();
  await page.getByText("Reported by JK BMS").waitFor();
});
await browser.close();
