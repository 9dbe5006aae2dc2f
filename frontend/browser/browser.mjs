// Chromium, driven by Playwright: the machine's own one, since none is downloaded.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after } from "node:test";

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

/** Ms that a page of Home Assistant has on a busy machine. */
const SLOW = 60_000;

const AXE = readFile(new URL(import.meta.resolve("axe-core")), "utf8");
const CARDS = "jk-bms-battery-card, jk-bms-overview-card, jk-bms-cells-feature";

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

/** Launch the browser of a file of tests, which is closed after the last one. */
export async function launchForTests() {
  const browser = await launch();
  after(() => browser.close());
  return browser;
}

/** Open a page that collects what goes wrong on it and can be inspected; paths are those of DEMO_URL. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({
    baseURL: process.env.DEMO_URL,
    serviceWorkers: "block",
    ...options,
  });
  await context.addInitScript(`window.everywhere = ${everywhere}`);
  const page = await context.newPage();
  page.setDefaultTimeout(SLOW);
  const errors = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => errors.push(`${error.message}\n${error.stack}`));
  return { page, errors, inspect: (...what) => inspectViews(page, errors, ...what) };
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

/** Find elements of a page, in its shadow roots too. */
function everywhere(selector, root = document) {
  const inside = [...root.querySelectorAll("*")].filter(({ shadowRoot }) => shadowRoot);
  return [
    ...root.querySelectorAll(selector),
    ...inside.flatMap(({ shadowRoot }) => everywhere(selector, shadowRoot)),
  ];
}

/** Report error cards as errors of the page, however short they are shown. */
export const reportErrorCards = (page) =>
  page.addInitScript(() =>
    setInterval(() => {
      const shown = window.everywhere("hui-error-card").filter((card) => card.checkVisibility());
      for (const { shadowRoot } of shown) console.error(`error card: ${shadowRoot.textContent}`);
    }, 50),
  );

/** Return what axe-core finds serious or critical within the cards. */
async function seriousProblems(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(await AXE);
  return page.evaluate(async (within) => {
    const { axe, everywhere } = window;
    const { violations } = await axe.run(everywhere(within), { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => ["serious", "critical"].includes(impact))
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("\n")}`);
  }, CARDS);
}

/** Look at what is shown: nothing overflows, axe finds nothing serious, no error was reported. */
async function inspectViews(page, errors, name, views = VIEWS) {
  const { PICTURES } = process.env;
  for (const { viewport, colorScheme } of views) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    const view = `${name}_${viewport.width}_${colorScheme}`;
    await page.waitForTimeout(PICTURES ? 2000 : 200);
    if (PICTURES) await page.screenshot({ path: `${PICTURES}/${view}.png` });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${view}: ${wide} px too wide`);
    let problems;
    // Until the last colour of the other theme has gone, which takes its time on a busy machine.
    for (let look = 0; look < 10 && problems?.length !== 0; look += 1) {
      if (look) await page.waitForTimeout(1000);
      problems = await seriousProblems(page);
    }
    assert.deepEqual(problems, [], view);
  }
  await page.setViewportSize(views[0].viewport);
  await page.emulateMedia(views[0]);
  assert.deepEqual(ours(errors), [], name);
}
