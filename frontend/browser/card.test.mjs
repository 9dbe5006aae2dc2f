// The cards alone in a real browser, with a Home Assistant made of plain objects.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, test } from "node:test";

import { launchForTests, openPage } from "./browser.mjs";

const BUILT = new URL("../../custom_components/jk_bms/frontend/", import.meta.url);
const SITE = "http://card.test";

const browser = await launchForTests();
let page;
let errors;

beforeEach(async () => {
  ({ page, errors } = await openPage(browser, { viewport: { width: 500, height: 1000 } }));
  await page.route(`${SITE}/**`, async (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === "/") {
      await route.fulfill({ contentType: "text/html", body: "<!doctype html><body></body>" });
    } else {
      const body = await readFile(new URL(`.${pathname}`, BUILT));
      await route.fulfill({ contentType: "text/javascript", body });
    }
  });
  await page.goto(SITE);
  await page.addScriptTag({ path: new URL("home.js", import.meta.url).pathname });
  await page.addScriptTag({ type: "module", url: `${SITE}/jk-bms.js?v=0.1.0-12345678` });
  await page.waitForFunction(() => window.customElements.get("jk-bms-battery-card"));
});

afterEach(() => page.context().close());

const text = () => page.locator("jk-bms-battery-card .frame").innerText();
const cell = (number) => page.getByRole("button", { name: new RegExp(`^Cell voltage ${number}:`) });

test("a battery is shown by its device alone", async () => {
  await page.evaluate(() => home.show(home.battery(16)));
  await page.getByText("House").waitFor();
  assert.equal(await page.locator(".cells li").count(), 16);
  assert.equal(await page.locator(".cells .lowest").count(), 1);
  // Two cells share the highest voltage.
  assert.equal(await page.locator(".cells .highest").count(), 2);
  const shown = await text();
  for (const part of ["62 %", "968 W", "Charging · full in 2 hr 10 min", "Spread 7 mV", "T1"]) {
    assert.ok(shown.includes(part), `${part} in ${shown}`);
  }
  assert.deepEqual(errors, []);
});

test("the YAML of the documentation is accepted", async () => {
  const docs = await readFile(new URL("../../docs/dashboard.md", import.meta.url), "utf8");
  const [, name, device_id] = /^type: custom:(jk-bms-\S+)\ndevice_id: (\S+)$/m.exec(docs);
  await page.evaluate(
    ([tag, config]) => document.createElement(tag).setConfig(config),
    [name, { type: `custom:${name}`, device_id }],
  );
});

test("the run time and the versions are shown without an entity", async () => {
  await page.evaluate(() => {
    home.show(home.battery(4), { total_runtime: 31_557_600 });
    const card = document.querySelector("jk-bms-battery-card");
    card.hass = { ...card.hass, devices: { house: { hw_version: "15A", sw_version: "15.41" } } };
    home.setLive({});
  });
  await page.getByText("sensor total_runtime").waitFor();
  assert.match(await text(), /365 days 6 hr/);
  assert.match(
    await page.locator(".foot").innerText(),
    /Connects only to read\s+HW 15A · SW 15.41/,
  );
  await page.evaluate(() =>
    home.show(home.battery(4, { "sensor.total_runtime": ["365.25", "d"] }), { total_runtime: 1 }),
  );
  await page.getByRole("button", { name: "sensor total_runtime 365.25 d" }).click();
});

test("parts whose entities are missing are absent", async () => {
  await page.evaluate(() => home.show(home.battery(0, { "sensor.total_voltage": ["52.1", "V"] })));
  await page.getByText("52.1 V").waitFor();
  for (const part of [".ring", ".cells", ".chips", ".graphs", ".action", ".power"]) {
    assert.equal(await page.locator(part).count(), 0, part);
  }
  assert.deepEqual(errors, []);
});

test("an alarm stands on top in words, with the cell that is meant", async () => {
  await page.evaluate(() =>
    home.show(home.battery(16), { faults: ["cell_undervoltage"], wire_resistance_cells: [3] }),
  );
  const alarm = page.locator(".frame > :first-child");
  await alarm.getByText("binary_sensor cell_undervoltage").waitFor();
  assert.match(await alarm.innerText(), /\(Cell 4\)/);
  assert.equal(await page.locator(".cells .alarmed").count(), 1);
});

test("a battery that is not read keeps its last values and gives the reason", async () => {
  await page.evaluate(() => home.show(home.battery(4)));
  await cell(1).waitFor();
  await page.evaluate(() => {
    home.setAll("unavailable");
    home.setLive({ available: false, reason: { key: "not_reachable", placeholders: {} } });
  });
  await page.getByText("exceptions not_reachable").waitFor();
  assert.equal(await page.locator(".cells li").count(), 4);
  assert.equal(await page.locator(".frame.outdated").count(), 1);
});

test("the cells show their voltages, their differences or their wire resistances", async () => {
  await page.evaluate(() => home.show(home.battery(4), { cell_resistance: [0.065, 0, 0.072] }));
  await cell(1).waitFor();
  const shown = () => page.locator(".volts").allInnerTexts();
  const wires = page.getByRole("button", { name: "Wire resistance" });
  const average = page.getByRole("button", { name: "Show differences from the average" });
  assert.deepEqual(await shown(), ["3.330", "3.328", "3.328", "3.323"]);
  await wires.click();
  assert.deepEqual(await shown(), ["65", "–", "72", "–"]);
  await page.getByRole("button", { name: "Cell voltage 3: 3.328 V, 72 mΩ" }).waitFor();
  await average.click();
  assert.equal(await wires.getAttribute("aria-pressed"), "false");
  assert.deepEqual(await shown(), ["+3", "+1", "+1", "-4"]);
  await average.click();
  assert.deepEqual(await shown(), ["3.330", "3.328", "3.328", "3.323"]);
});

test("a battery without wire resistances has no button for them", async () => {
  await page.evaluate(() => home.show(home.battery(4), { cell_resistance: [0, null] }));
  await cell(1).waitFor();
  assert.equal(await page.locator(".scales button").count(), 1);
});

test("the spread is marked from the balance trigger on, in numbers as well", async () => {
  await page.evaluate(() => home.show(home.battery(4)));
  await page.getByText("Spread 7 mV").waitFor();
  assert.equal(await page.locator(".over").count(), 0);
  await page.evaluate(() => home.set("sensor.house_cell_voltage_4", "3.320"));
  assert.match(await page.locator(".over").innerText(), /^Spread\s10 mV ≥ 10 mV$/);
});

test("all of it works by keyboard", async () => {
  await page.evaluate(() => home.show(home.battery(16)));
  await cell(1).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.deepEqual(await page.evaluate(() => home.events["hass-more-info"]), [
    { entityId: "sensor.house_cell_voltage_1" },
    { entityId: "sensor.house_cell_voltage_2" },
  ]);
});

test("turning off asks first, turning on does not", async () => {
  await page.evaluate(() =>
    home.show(home.battery(4, { "switch.charging": ["on"], "switch.discharging": ["off"] })),
  );
  await page.getByRole("switch", { name: "charging", exact: true }).click();
  await page.getByRole("switch", { name: "discharging" }).click();
  await page.getByRole("button", { name: "Free for the phone app" }).click();
  const actions = await page.evaluate(() =>
    home.events["hass-action"].map((e) => e.config.tap_action),
  );
  assert.deepEqual(
    actions.map((action) => [action.perform_action, action.target.entity_id]),
    [
      ["switch.turn_off", "switch.house_charging"],
      ["switch.turn_on", "switch.house_discharging"],
      ["switch.turn_off", "switch.house_bluetooth_link"],
    ],
  );
  assert.equal(actions[0].confirmation.title, "Turn off charging?");
  assert.equal(actions[1].confirmation, undefined);
  assert.ok(actions[2].confirmation.text);
});

test("refresh reads the battery, and a released link can be taken back", async () => {
  await page.evaluate(() => home.show(home.battery(4)));
  await page.getByRole("button", { name: "Refresh" }).click();
  assert.deepEqual(await page.evaluate(() => home.calls), [
    ["button", "press", "button.house_refresh"],
  ]);
  await page.evaluate(() => {
    home.set("switch.house_bluetooth_link", "off");
    home.setLive({ resumes_at: "2026-11-28T13:30:00+00:00" });
  });
  await page.getByText("Free for other apps until 14:30").waitFor();
  await page.getByRole("button", { name: "Reconnect" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Refresh" }).count(), 0);
});

test("the balancer is shown at work", async () => {
  await page.evaluate(() =>
    home.show(
      home.battery(16, {
        "sensor.balancer_state": ["charging"],
        "sensor.balancing_current": ["0.92", "A"],
      }),
    ),
  );
  await page.getByText("0.92 A from cell 1, 5 to cell 4").waitFor();
  const beam = page.locator("jk-bms-beam .way");
  await beam.waitFor({ state: "attached" });
  /** Where the line begins and ends, and the bars of cells 1 and 4. */
  const places = () =>
    page.evaluate(() => {
      const root = document.querySelector("jk-bms-battery-card").shadowRoot;
      const way = root.querySelector("jk-bms-beam .way");
      const { x, y } = way.ownerSVGElement.getBoundingClientRect();
      const ends = [0, way.getTotalLength()].map((at) => way.getPointAtLength(at));
      const bars = [0, 3].map((at) => {
        const box = root.querySelectorAll(".track")[at].getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
      });
      return [ends.map((end) => [x + end.x, y + end.y]), bars].map((points) =>
        points.flat().map(Math.round),
      );
    });
  // One row, then two or more: it follows.
  for (const width of [700, 300]) {
    await page.evaluate((width) => (document.body.style.width = `${width}px`), width);
    await page.waitForTimeout(100);
    const [line, bars] = await places();
    assert.deepEqual(line, bars);
  }
  await page.evaluate(() => home.set("sensor.house_balancer_state", "off"));
  await page.getByText("Balancer idle").waitFor();
  assert.equal(await beam.count(), 0);
});

test("no width overflows, from left to right or the other way round", async () => {
  for (const dir of ["ltr", "rtl"]) {
    for (const cells of [4, 16, 32]) {
      await page.evaluate(
        ([dir, cells]) => {
          document.documentElement.dir = dir;
          home.show(home.battery(cells), { faults: ["cell_undervoltage"] });
        },
        [dir, cells],
      );
      await page
        .locator(".cells li")
        .nth(cells - 1)
        .waitFor();
      for (const width of [120, 200, 326, 480, 800, 1200]) {
        const wide = await page.evaluate(async (width) => {
          document.body.style.width = `${width}px`;
          await new Promise(requestAnimationFrame);
          const card = document.querySelector("jk-bms-battery-card").shadowRoot;
          return [...card.querySelectorAll("*")]
            .filter((each) => {
              const { left, right, width } = each.getBoundingClientRect();
              const frame = card.querySelector("ha-card").getBoundingClientRect();
              return width && (left < frame.left - 1 || right > frame.right + 1);
            })
            .map((each) => each.className);
        }, width);
        assert.deepEqual(wide, [], `${dir}, ${cells} cells, ${width} px`);
      }
    }
  }
});

test("nothing moves where reduced motion is asked for", async () => {
  const moving = () =>
    page.evaluate(
      () => document.querySelector("jk-bms-battery-card").shadowRoot.getAnimations().length,
    );
  await page.evaluate(() => home.show(home.battery(16)));
  await cell(1).waitFor();
  await page.waitForFunction(() => document.querySelector("jk-bms-battery-card[visible]"));
  assert.ok((await moving()) > 0);
  await page.emulateMedia({ reducedMotion: "reduce" });
  assert.equal(await moving(), 0);
});

test("a page that runs another version is offered a reload, once", async () => {
  await page.evaluate(() => home.show(home.battery(4)));
  await cell(1).waitFor();
  assert.equal(await page.evaluate(() => home.events["hass-notification"]), undefined);
  await page.evaluate(() => {
    home.send({ version: "0.2.0" });
    home.send({ version: "0.2.0" });
  });
  const shown = await page.evaluate(() =>
    home.events["hass-notification"].map(({ action, duration }) => [action.text, duration]),
  );
  assert.deepEqual(shown, [["Reload", -1]]);
});

test("what is not shown costs no rendering, and 32 cells twice a second little", async () => {
  await page.evaluate(() => home.show(home.battery(32)));
  await cell(32).waitFor();
  const { idle, times } = await page.evaluate(async () => {
    const card = document.querySelector("jk-bms-battery-card");
    let renders = 0;
    const render = card.render;
    card.render = function () {
      renders += 1;
      return render.call(this);
    };
    for (let n = 0; n < 20; n += 1) {
      home.set("light.kitchen", n % 2 ? "on" : "off");
      await card.updateComplete;
    }
    const idle = renders;
    const times = [];
    for (let n = 0; n < 60; n += 1) {
      for (let cell = 1; cell <= 32; cell += 1) {
        home.change(
          `sensor.house_cell_voltage_${cell}`,
          (3.3 + ((n * 7 + cell) % 40) / 1000).toFixed(3),
        );
      }
      home.change("sensor.house_power", String(900 + n));
      const start = performance.now();
      home.publish();
      await card.updateComplete;
      times.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { idle, times };
  });
  assert.equal(idle, 0);
  // Other tests run beside it, which make an update slower and never faster.
  times.sort((a, b) => a - b);
  const [quiet, median] = [times[15], times[30]];
  console.log(`32 cells: ${quiet.toFixed(2)} ms an update, median ${median.toFixed(2)} ms`);
  assert.ok(quiet < 4, `${quiet} ms`);
});

test("the chosen parts are shown in the chosen order", async () => {
  const shown = async (parts) => {
    await page.evaluate((parts) => home.show(home.battery(4), {}, { parts }), parts);
    await page.locator("jk-bms-battery-card .frame").waitFor();
    return page
      .locator("jk-bms-battery-card .frame > *")
      .evaluateAll((all) =>
        all.map(({ className }) => className.trim()).filter((name) => name !== "alarms"),
      );
  };
  assert.deepEqual(await shown(["cells", "charge"]), ["cell-part", "head"]);
  const all = ["head", "facts", "cell-part", "chips", "foot"];
  assert.deepEqual(await shown(undefined), all);
  assert.deepEqual(await shown([]), all);
});

test("the title leads an admin to the device", async () => {
  await page.evaluate(() => home.show(home.battery(4), {}, {}, { is_admin: true }));
  const link = page.getByRole("link", { name: "House" });
  assert.equal(await link.getAttribute("href"), "/config/devices/device/house");
  await page.evaluate(() => home.show(home.battery(4), {}, {}, { is_admin: false }));
  await page.getByText("House").waitFor();
  assert.equal(await link.count(), 0);
});

test("no key of an alarm is shown before its name is there", async () => {
  await page.evaluate(() => {
    home.hold();
    home.show(home.battery(4), { faults: ["cell_undervoltage"] });
  });
  await page.waitForTimeout(200);
  assert.equal(await page.locator(".frame").count(), 0);
  await page.evaluate(() => home.go());
  await page.locator(".alarm").getByText("binary_sensor cell_undervoltage").waitFor();
});

test("a tile shows the cells as a strip", async () => {
  await page.evaluate(() => home.showFeature(home.battery(16), "sensor.house_delta_cell_voltage"));
  const strip = page.locator("jk-bms-cells-feature .strip");
  await strip.waitFor();
  assert.equal(await strip.locator("span").count(), 16);
  assert.equal(await strip.locator(".lowest").count(), 1);
  assert.equal(await strip.locator(".highest").count(), 2);
  assert.match(await strip.getAttribute("aria-label"), /^Spread 7 mV. Cell voltage 1: 3.330 V/);
  const supported = await page.evaluate(() => {
    const [feature] = window.customCardFeatures;
    const entities = Object.fromEntries(
      [
        ["spread", "jk_bms", "delta_cell_voltage"],
        ["power", "jk_bms", "power"],
        ["other", "another", "state_of_charge"],
      ].map(([id, platform, translation_key]) => [id, { platform, translation_key }]),
    );
    return [...Object.keys(entities), "unknown", undefined].filter((entity_id) =>
      feature.isSupported({ entities }, { entity_id }),
    );
  });
  assert.deepEqual(supported, ["spread"]);
  assert.deepEqual(errors, []);
});

test("the overview adds the batteries up and leads to each", async () => {
  await page.evaluate(() => {
    const [house, shed] = [home.battery(4), home.battery(4, {}, "shed")];
    home.showOverview([house, shed], { house: "house" }, { shed: { faults: ["charge_mosfet"] } });
  });
  await page.getByText("1,936 W").waitFor();
  const rows = page.locator("jk-bms-overview-card .row");
  assert.match(await rows.first().innerText(), /shed.*charge_mosfet/is);
  await rows.nth(1).click();
  const [{ config }] = await page.evaluate(() => home.events["hass-action"]);
  assert.equal(config.tap_action.action, "navigate");
  assert.match(config.tap_action.navigation_path, /\/house$/);
});

test("the totals leave out a lost battery, and say so", async () => {
  await page.evaluate(() => {
    const batteries = ["a", "b", "c"].map((name) => home.battery(4, {}, name));
    // One that only balances is not missed.
    const balancer = { ...home.battery(0, { "sensor.total_voltage": ["53.2", "V"] }, "d") };
    home.showOverview([...batteries, balancer], {}, {});
  });
  await page.getByText("2,904 W").waitFor();
  assert.doesNotMatch(await page.locator(".total").innerText(), /included/);
  await page.evaluate(() => {
    for (const key of ["power", "state_of_charge"]) home.set(`sensor.b_${key}`, "unavailable");
  });
  await page.getByText("1,936 W").waitFor();
  assert.match(await page.locator(".total").innerText(), /^All batteries\s+2 of 3 included\s+62%/);
});

test("cards and dashboard are listed once, with their texts", async () => {
  await page.addScriptTag({ type: "module", url: `${SITE}/main.js?v=again` });
  const listed = await page.evaluate(() =>
    [...window.customCards, ...window.customStrategies].map(({ type, name, description }) => [
      type,
      name,
      Boolean(description),
    ]),
  );
  assert.deepEqual(listed, [
    ["jk-bms-battery-card", "JK BMS battery", true],
    ["jk-bms-overview-card", "JK BMS overview", true],
    ["jk-bms", "JK BMS batteries", true],
  ]);
  const suggestions = await page.evaluate(() => {
    const hass = {
      entities: { "sensor.a": { platform: "jk_bms", device_id: "d" }, "sensor.b": {} },
    };
    const [card] = window.customCards;
    return ["sensor.a", "sensor.b"].map((id) => card.getEntitySuggestion(hass, id));
  });
  assert.deepEqual(suggestions, [
    { config: { type: "custom:jk-bms-battery-card", device_id: "d" } },
    null,
  ]);
});

const BANK = {
  "sensor.state_of_charge": ["61", "%"],
  "sensor.power": ["1936", "W"],
  "sensor.total_voltage": ["53.2", "V"],
  "sensor.packs_online": ["2", ""],
  "sensor.pack_voltage_spread": ["0.12", "V"],
  "sensor.current_sharing_deviation": ["8", "%"],
  "sensor.min_cell_voltage": ["3.312", "V"],
  "sensor.max_cell_voltage": ["3.331", "V"],
  "sensor.min_temperature": ["21.5", "°C"],
  "sensor.max_temperature": ["25.1", "°C"],
};
const PLACES = {
  "sensor.packs_online": { packs: 2 },
  "sensor.current_sharing_deviation": {
    shares: { house: { current: 54, capacity: 50 }, 2: { current: 46, capacity: 50 } },
  },
  "sensor.min_cell_voltage": { pack: "2", cell: 4, incomplete: false },
  "sensor.max_cell_voltage": { pack: "house", cell: 11, incomplete: false },
  "sensor.min_temperature": { pack: "2", incomplete: false },
  "sensor.max_temperature": { pack: "house", incomplete: false },
};

/** Show the bank of two packs, the second of which the user calls Van. */
async function showBank(changed = {}, places = {}) {
  await page.evaluate(
    ([values, places, changed]) => {
      const [house, van] = [
        { ...home.battery(16, {}, "house"), title: "house" },
        { ...home.battery(4, { "binary_sensor.charging": ["off", ""] }, "2"), title: "Van" },
      ];
      const bank = home.bank([house, van], values, places);
      const devices = { house: { name: "house" }, 2: { name: "2", name_by_user: "Van" } };
      home.showBank(bank, [house, van], changed, devices);
    },
    [BANK, { ...PLACES, ...places }, changed],
  );
  await page.locator("jk-bms-battery-card .packs .pack").nth(1).waitFor();
}

test("a bank shows which pack has the extremes, and how its packs share", async () => {
  await showBank();
  const [highest, lowest, , coldest] = await page.locator(".extremes .fact").allInnerTexts();
  assert.match(highest, /max cell voltage\s+3\.331 V\s+house · Cell 11$/);
  assert.match(lowest, /min cell voltage\s+3\.312 V\s+Van · Cell 4$/);
  assert.match(coldest, /21\.5 °C\s+Van$/);
  assert.match(await text(), /packs online\s+2 \/ 2.*pack voltage spread 0\.12 V/s);
  const [first, second] = await page.locator(".pack").allInnerTexts();
  assert.match(first, /house\s+62 %\s+53\.3 V\s+18\.8 A\s+Current 54% · Capacity 50%$/);
  assert.match(second, /Van.*Current 46% · Capacity 50%\s+charging: off$/s);
  // It has no link and no cells of its own.
  assert.doesNotMatch(await text(), /Connects only|Refresh/);
  await page.locator(".extremes .lowest").click();
  assert.deepEqual(await page.evaluate(() => home.events["hass-more-info"]), [
    { entityId: "sensor.bank_min_cell_voltage" },
  ]);
  assert.deepEqual(errors, []);
});

test("a fault of a bank names the pack and its cell", async () => {
  await showBank({ bank: { faults: ["cell_undervoltage"] }, 2: { faults: ["cell_undervoltage"] } });
  const alarms = await page.locator(".alarm").allInnerTexts();
  assert.deepEqual(alarms, ["binary_sensor cell_undervoltage (Van, Cell 4)"]);
});

test("a bank says which pack is missing and why, and that the rest is incomplete", async () => {
  const reason = { key: "not_reachable", placeholders: {} };
  const incomplete = { pack: "house", cell: 4, incomplete: true };
  await showBank(
    { 2: { available: false, reason, faults: ["cell_undervoltage"] } },
    { "sensor.min_cell_voltage": incomplete },
  );
  assert.match(await page.locator(".pack.gone").innerText(), /Van.*exceptions not_reachable/s);
  assert.match(await page.locator(".extremes .lowest").innerText(), /· sensor min_cell_voltage$/);
  // What it reported last may be over.
  assert.equal(await page.locator(".alarm").count(), 0);
});

test("no width of a bank overflows", async () => {
  await showBank({ 2: { available: false, reason: null } });
  for (const width of [120, 200, 326, 480, 800, 1200]) {
    const wide = await page.evaluate(async (width) => {
      document.body.style.width = `${width}px`;
      await new Promise(requestAnimationFrame);
      const card = document.querySelector("jk-bms-battery-card").shadowRoot;
      const frame = card.querySelector("ha-card").getBoundingClientRect();
      return [...card.querySelectorAll("*")]
        .filter((each) => {
          const { left, right, width } = each.getBoundingClientRect();
          return width && (left < frame.left - 1 || right > frame.right + 1);
        })
        .map((each) => each.className);
    }, width);
    assert.deepEqual(wide, [], `${width} px`);
  }
});

test("the overview counts the packs of a bank once, below their bank", async () => {
  await page.evaluate(() => {
    const [a, b, shed] = ["a", "b", "shed"].map((name) => home.battery(4, {}, name));
    const bank = home.bank([a, b], {
      "sensor.power": ["1936", "W"],
      "sensor.state_of_charge": ["62", "%"],
      "sensor.delta_cell_voltage": ["19", "mV"],
    });
    // The pack with the fault brings its bank up.
    home.showOverview([a, b, bank, shed], {}, { b: { faults: ["charge_mosfet"] } });
  });
  await page.getByText("2,904 W").waitFor();
  const rows = page.locator("jk-bms-overview-card .row");
  const names = await rows.locator(".name").allInnerTexts();
  assert.deepEqual(names, ["bank", "b", "a", "shed"]);
  assert.equal(await page.locator(".row.pack").count(), 2);
  assert.match(await rows.first().innerText(), /Spread 19 mV/);
});

test("the packs of a bank that lacks one are counted, down to none", async () => {
  await page.evaluate(() => {
    const [a, b] = ["a", "b"].map((name) => home.battery(4, {}, name));
    const sums = { "sensor.power": ["1936", "W"], "sensor.state_of_charge": ["62", "%"] };
    home.showOverview([a, b, home.bank([a, b], sums)], {}, {});
  });
  await page.locator(".row.pack").nth(1).waitFor();
  // The row of the only bank is the total.
  const total = page.locator(".total");
  assert.equal(await total.count(), 0);
  await page.evaluate(() => {
    for (const battery of ["b", "bank"]) {
      for (const key of ["power", "state_of_charge"])
        home.change(`sensor.${battery}_${key}`, "unavailable");
    }
    home.publish();
  });
  await total.getByText("968 W").waitFor();
  assert.match(await total.innerText(), /^All batteries\s+1 of 2 included\s+62%/);
  assert.doesNotMatch(await page.locator(".row").first().innerText(), /1936/);
  await page.evaluate(() => home.setAll("unavailable"));
  await total.getByText("0 of 2 included").waitFor();
  assert.match(await total.innerText(), /^All batteries\s+0 of 2 included$/);
});

test("the units that a user chose change no sum", async () => {
  await page.evaluate(() => {
    const inKilowatts = home.battery(4, { "sensor.power": ["0.968", "kW"] });
    home.showOverview([inKilowatts, home.battery(4, {}, "shed")], {}, {});
  });
  await page.getByText("1,936 W").waitFor();
  await page.getByText("Charging · 0.968 kW").waitFor();
});
