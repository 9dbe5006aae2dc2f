// Take the pictures of adding a battery, from `scripts/demo` at DEMO_URL, into the folder TO, in the
// colours of SCHEME: each file name begins with the ms that the picture is shown.
import { launch, openPage } from "./browser.mjs";

const { SCHEME, TO } = process.env;

const browser = await launch();
const { page } = await openPage(browser, {
  viewport: { width: 900, height: 640 },
  colorScheme: SCHEME,
});

let number = 0;
async function shoot(ms) {
  number += 1;
  const name = `${String(number).padStart(2, "0")}-${ms}.png`;
  await page.screenshot({ path: `${TO}/${name}` });
}

await page.goto("/config/integrations/dashboard");
const add = page.locator("ha-config-flow-card").getByText("Add", { exact: true });
await add.waitFor();
await page.waitForTimeout(3000);
await shoot(1800);
await add.click();

const dialog = page.locator("dialog-data-entry-flow");
const read = dialog.getByText("Read battery", { exact: true });
await read.waitFor();
await page.waitForTimeout(1000);
await shoot(2000);
await read.click();
await page.waitForTimeout(700);
await shoot(1500);

const confirm = dialog.getByText("Add", { exact: true });
await confirm.waitFor();
await page.waitForTimeout(1000);
await shoot(3500);
await confirm.click();

const finish = dialog.getByText("Skip and finish");
await finish.waitFor();
await page.waitForTimeout(1500);
await shoot(1500);
await finish.click();
await page.waitForTimeout(1500);

await page.goto("/jk-bms");
await page.locator("jk-bms-battery-card .cells li").nth(15).waitFor();
await page.waitForTimeout(5000);
await shoot(4000);
await browser.close();
