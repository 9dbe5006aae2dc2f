// Chromium, driven by Playwright: the machine's own one, since none is downloaded.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const DESKTOP = { width: 1440, height: 1100 };
const PHONE = { width: 390, height: 1500 };
/** All widths and colour schemes with ALL_VIEWS, else the first. */
export const VIEWS = [
  { viewport: DESKTOP, colorScheme: "light" },
  { viewport: DESKTOP, colorScheme: "dark" },
  { viewport: PHONE, colorScheme: "light" },
  { viewport: PHONE, colorScheme: "dark" },
].slice(0, process.env.ALL_VIEWS ? undefined : 1);

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
}

/** Open a page that collects what goes wrong on it. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ serviceWorkers: "block", ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => errors.push(`${error.message}\n${error.stack}`));
  return { page, errors };
}

/** Leave out what a demo without internet and without service worker causes by itself. */
export function ours(errors) {
  return errors.filter(
    (error) =>
      !/ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED|brands|reading 'addEventListener'/.test(
        error,
      ),
  );
}

/** Send a command of the websocket as the page does. */
export const ask = (page, message) =>
  page.evaluate((m) => document.querySelector("home-assistant").hass.callWS(m), message);

export const act = (page, domain, service, service_data) =>
  ask(page, { type: "call_service", domain, service, service_data });

/** Let something happen to a battery of the demo, and read it; by default all is normal again. */
export async function letHappen(page, battery, more = {}) {
  await act(page, "demo_battery", "let", { battery, ...more });
  // It fails where the battery does not respond.
  const entity_id = `button.${battery.toLowerCase().replace(" ", "_")}_refresh`;
  await act(page, "button", "press", { entity_id }).catch(() => {});
}

/** Return what axe-core finds serious or critical within these elements. */
export async function seriousProblems(page, selector) {
  const axe = new URL(import.meta.resolve("axe-core"));
  await page.evaluate(await readFile(axe, "utf8"));
  return page.evaluate(async (within) => {
    const found = [];
    const search = (root) => {
      found.push(...root.querySelectorAll(within));
      for (const { shadowRoot } of root.querySelectorAll("*")) if (shadowRoot) search(shadowRoot);
    };
    search(document);
    const problems = [];
    for (const element of found) {
      const { violations } = await window.axe.run(element);
      problems.push(
        ...violations
          .filter(({ impact }) => ["serious", "critical"].includes(impact))
          .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("\n")}`),
      );
    }
    return problems;
  }, selector);
}

/** Look at what is shown in every view: nothing overflows, axe finds nothing serious. */
export async function inspectViews(page, errors, name) {
  const { PICTURES } = process.env;
  for (const { viewport, colorScheme } of VIEWS) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    const view = `${name}_${viewport.width}_${colorScheme}`;
    await page.waitForTimeout(PICTURES ? 2000 : 500);
    if (PICTURES) await page.screenshot({ path: `${PICTURES}/${view}.png` });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${view}: ${wide} px too wide`);
    let problems;
    // Until the last colour of the other theme has gone, which takes its time on a busy machine.
    for (let look = 0; look < 10 && problems?.length !== 0; look += 1) {
      if (look) await page.waitForTimeout(1000);
      problems = await seriousProblems(page, "jk-bms-battery-card, jk-bms-overview-card");
    }
    assert.deepEqual(problems, [], view);
  }
  await page.setViewportSize(VIEWS[0].viewport);
  await page.emulateMedia(VIEWS[0]);
  assert.deepEqual(ours(errors), [], name);
}
