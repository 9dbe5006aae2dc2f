// Chromium, driven by Playwright: the machine's own one, since none is downloaded.
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
  const entity_id = `button.${battery.toLowerCase()}_refresh`;
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
