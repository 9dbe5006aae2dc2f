// Take the pictures of a bank for docs/images from `scripts/demo --bank --batteries 4` at DEMO_URL:
// scripts/pictures does it.
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
await browser.close();
