// Take the pictures of the dashboard for docs/images, from `scripts/demo --added --batteries 4` at
// DEMO_URL: node browser/pictures.mjs, with CHROMIUM set to the browser.
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
await browser.close();
