// Take the pictures of a bank of packs of 32 cells for docs/images from
// `scripts/demo --bank --batteries 4 --cells 32` at DEMO_URL: scripts/pictures does it.
import { fileURLToPath } from "node:url";

import { launch, openPage } from "./browser.mjs";

const IMAGES = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const PICTURES = [
  { name: "bank", viewport: { width: 1440, height: 1000 }, colorScheme: "light" },
  { name: "bank_phone_dark", viewport: { width: 390, height: 1300 }, colorScheme: "dark" },
];

const browser = await launch();
for (const { name, ...options } of PICTURES) {
  const { page } = await openPage(browser, options);
  await page.goto("/jk-bms/bank");
  const pack = page.locator("jk-bms-battery-card .pack");
  await pack.nth(3).waitFor();
  // Home Assistant's own graphs draw themselves.
  await page.waitForTimeout(5000);
  await page.screenshot({ path: `${IMAGES}${name}.png` });
  await page.context().close();
}
const { page } = await openPage(browser, { viewport: { width: 390, height: 1150 } });
await page.goto("/jk-bms/house");
const card = page.locator("jk-bms-battery-card");
await card.locator("button.graph").click();
await card.locator(".heat-map rect").nth(32).waitFor();
await page.waitForTimeout(2000);
await page.screenshot({ path: `${IMAGES}heat_map.png` });
await browser.close();
