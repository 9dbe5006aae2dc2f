// Take the pictures for docs/images from `scripts/demo --added --batteries 4` at DEMO_URL, with
// CHROMIUM set to the browser: scripts/pictures does all of it.
import { launch, openPage } from "./browser.mjs";

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
  await page.goto(process.env.DEMO_URL + path);
  await page.locator("jk-bms-battery-card .graphs").first().waitFor({ timeout: 60_000 });
  // Home Assistant's own graphs draw themselves.
  await page.waitForTimeout(5000);
  await page.screenshot({ path: new URL(`${name}.png`, IMAGES).pathname });
  await page.context().close();
}

/** Take a picture of a page that Home Assistant itself draws. */
async function shoot(name, path, height, prepare = async () => {}) {
  const { page } = await openPage(browser, { viewport: { width: 1280, height } });
  page.setDefaultTimeout(60_000);
  await page.goto(process.env.DEMO_URL + path);
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
  await page.goto(`${process.env.DEMO_URL}/config/devices/device/${id}`);
});
await shoot("options", "/config/integrations/integration/jk_bms", 880, async (page) => {
  await page.getByLabel("Configure", { exact: true }).first().click();
});
await shoot("energy", "/energy", 800);
await browser.close();
