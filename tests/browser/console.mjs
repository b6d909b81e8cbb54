// The scenarios of browser/main.rs. Called as `console.mjs SCENARIO` with CONSOLE, API, KEY, PICTURES and PLAYWRIGHT in
// the environment; exits 1 with a line that says which promise was broken.

const { chromium } = await import(process.env.PLAYWRIGHT);
const { CONSOLE, API, KEY, TOKEN, PICTURES } = process.env;
const PATIENCE_MS = 15_000;

const hook = (page, name) => page.locator(`[data-test="${name}"]`);

async function until(promise, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    if (await look()) return;
    if (Date.now() > deadline) throw new Error(`not in time: ${promise}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function open(browser, user, device) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(PATIENCE_MS);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(`script: ${error.message}`));
  page.on("console", (line) => {
    if (line.type() === "error") page.faults.push(`console: ${line.text()}`);
  });
  await page.goto(`${CONSOLE}?user=${user}&device=${device}`);
  return page;
}

async function connect(page) {
  await hook(page, "connect").click();
  await until("the state is open", async () => (await hook(page, "state").getAttribute("data-state")) === "open");
}

async function handIn(notification) {
  const answer = await fetch(`${API}/v1/notifications`, {
    method: "POST",
    headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
    body: JSON.stringify(notification),
  });
  if (answer.status !== 202) throw new Error(`202 wanted: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).id;
}

const shown = (page, id) => page.locator(`[data-test="notification"][data-id="${id}"]`);
const picture = (page, name) => page.screenshot({ path: `${PICTURES}/console-${name}.png` });

const scenarios = {
  async send(browser) {
    const page = await open(browser, "ada", "laptop");
    await connect(page);
    await hook(page, "send-to").fill("ada");
    await hook(page, "send-title").fill("Disk almost full");
    await hook(page, "send-body").fill("db-3 has 4 % left");
    await hook(page, "send-priority").selectOption("high");
    await hook(page, "send").click();
    await until("the form shows 202", async () => (await hook(page, "send-result").getAttribute("data-status")) === "202");
    const item = hook(page, "notification").first();
    await item.waitFor();
    const text = await item.innerText();
    for (const part of ["Disk almost full", "db-3 has 4 % left"]) {
      if (!text.includes(part)) throw new Error(`"${part}" is not shown: ${text}`);
    }
    await hook(item, "ack").click();
    await until("it is acknowledged", async () => (await item.getAttribute("data-acked")) === "true");
    await picture(page, "send");
    return [page];
  },

  async devices(browser) {
    const [one, two] = [await open(browser, "ada", "phone"), await open(browser, "ada", "laptop")];
    await connect(one);
    await connect(two);
    const id = await handIn({ to: { user: "ada" }, title: "on both" });
    await shown(one, id).waitFor();
    await shown(two, id).waitFor();
    await hook(shown(one, id), "ack").click();
    await until("the other window knows", async () => (await shown(two, id).getAttribute("class"))?.includes("dismissed"));
    await picture(two, "dismissed");
    return [one, two];
  },

  async outboxes(browser) {
    const page = await open(browser, "ada", "laptop");
    await connect(page);
    const title = "Everywhere at once";
    await handIn({ to: { user: "ada" }, title, channels: ["inapp", "push", "email", "sms", "voice"] });
    for (const channel of ["push", "email", "sms", "voice"]) {
      const outbox = hook(page, `outbox-${channel}`);
      await until(`the ${channel} outbox shows it`, async () => (await outbox.innerText()).includes(title));
    }
    const equation = hook(page, "equation");
    await until("the equation balances", async () => (await equation.getAttribute("data-balanced")) === "true");
    if ((await hook(page, "figures").innerText()).trim() === "") throw new Error("no figures are shown");
    await picture(page, "outboxes");
    return [page];
  },

  async operations(browser) {
    const page = await open(browser, "ada", "laptop");
    const provider = hook(page, "provider-sms");
    await until("a way without an account is named", async () => (await provider.getAttribute("data-state")) === "not_configured");
    const answer = await fetch(`${API}/v1/otp`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
      body: JSON.stringify({ user: "grace.hopper", code: "314159", contacts: { phone: "+4915112345678" } }),
    });
    if (answer.status !== 202) throw new Error(`202 wanted: ${answer.status} ${await answer.text()}`);
    const { id } = await answer.json();
    const ladder = page.locator(`[data-test="ladder"][data-id="${id}"]`);
    await ladder.waitFor();
    await until("its first rung has gone out", async () => !(await hook(ladder, "rung-sms").innerText()).includes("waiting"));
    const text = await page.locator("#ladders").innerText();
    if (!text.includes("gr…")) throw new Error(`whose it is cannot be told: ${text}`);
    for (const secret of ["314159", "hopper", "345678"]) {
      if (text.includes(secret)) throw new Error(`${secret} is shown: ${text}`);
    }
    await page.setViewportSize({ width: 1280, height: 1500 });
    await picture(page, "operations");
    // An account in trouble, fed by hand: there is none in this system.
    const feed = () => page.evaluate(`(() => {
      home = { ...home, api: null };
      const account = { way: "sms", provider: "twilio", state: "open", breaker: "open", breaker_since: new Date(Date.now() - 95e3).toISOString(),
        waiting: 3, oldest_waiting_s: 125, under_way: 1, budget: { per_s: 100, at_once: 32 }, last_taken_at: null,
        last_error: { class: "fault", code: "<b>20500</b>", at: new Date().toISOString() }, errors_lately: { fault: 5 }, throttled: 2, answers: {} };
      showProviders([account, { way: "email", provider: "outbox", state: "not_configured" }]);
    })()`);
    let row = "";
    await until("the account is shown", async () => {
      await feed(); // A refresh that was under way may come behind it.
      row = (await provider.innerText()).replaceAll("\t", " ");
      return row.includes("twilio");
    });
    for (const part of ["twilio", "open 1 min", "3, oldest 2 min", "100/s, 2 × 429", "never", "5 fault", "<b>20500</b>"]) {
      if (!row.includes(part)) throw new Error(`"${part}" is not in the row: ${row}`);
    }
    await picture(page, "providers");
    return [page];
  },

  async hostile(browser) {
    const page = await open(browser, "ada", "laptop");
    await connect(page);
    const attack = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`;
    const id = await handIn({ to: { user: "ada" }, title: attack, body: attack, category: "<b>c</b>", data: { x: attack } });
    await shown(page, id).waitFor();
    const text = await shown(page, id).innerText();
    if (!text.includes("<img src=x")) throw new Error(`the title is not shown as text: ${text}`);
    if ((await page.title()) === "run") throw new Error("a notification ran a script");
    if ((await shown(page, id).locator("img, script, b").count()) !== 0) throw new Error("a notification made elements");
    return [page];
  },

  async missed(browser) {
    const ids = [];
    for (let i = 0; i < 60; i += 1) ids.push(await handIn({ to: { user: "ada" }, title: `missed ${i}` }));
    const page = await open(browser, "ada", "laptop");
    await connect(page);
    await until("all sixty are shown", async () => (await hook(page, "notification").count()) === ids.length);
    await page.reload();
    await connect(page);
    await until("all sixty are shown again, once", async () => (await hook(page, "notification").count()) === ids.length);
    return [page];
  },

  async keyed(browser) {
    const page = await open(browser, "ada", "laptop");
    const equation = hook(page, "equation");
    if ((await equation.innerText()).includes("≠")) throw new Error("what is not known looks like a fault");
    await hook(page, "token").fill("not.a.token");
    await hook(page, "connect").click();
    await until("it is refused", async () => (await hook(page, "state").getAttribute("data-state")) === "refused");
    const detail = await page.locator("#detail").innerText();
    if (!detail.startsWith("401")) throw new Error(`why it is refused is not said: ${detail}`);
    await hook(page, "key").fill("no service's key");
    await hook(page, "key").blur();
    await until("the router's refusal is shown", async () => (await page.locator("#alarm").innerText()).includes("401"));
    page.faults = []; // Chromium reports the handshake and each 401 by itself.
    await hook(page, "key").fill(KEY);
    await hook(page, "key").blur();
    await hook(page, "token").fill(TOKEN);
    await connect(page);
    await hook(page, "send-to").fill("ada");
    await hook(page, "send").click();
    await until("the form shows 202", async () => (await hook(page, "send-result").getAttribute("data-status")) === "202");
    await hook(page, "notification").first().waitFor();
    await until("the equation balances", async () => (await equation.getAttribute("data-balanced")) === "true");
    if (await page.locator("#alarm").isVisible()) throw new Error("the alarm stays");
    await picture(page, "keyed");
    return [page];
  },

  async gap(browser) {
    const page = await open(browser, "ada", "laptop");
    await connect(page);
    await until("the first sync is over", () => page.evaluate("!syncing"));
    // The page's own functions, fed by hand: a gap while a page is under way.
    const syncs = await page.evaluate(`(() => {
      const said = [];
      const speak = say;
      say = (message) => said.push(message);
      sync();
      receive({ type: "gap", since: "2026-01-01T00:00:00Z" });
      receive({ type: "sync_batch", notifications: [], cursor: "c1", has_more: false });
      receive({ type: "sync_batch", notifications: [], cursor: "c2", has_more: false });
      say = speak;
      return said.map((message) => message.type).join(" ");
    })()`);
    if (syncs !== "sync sync") throw new Error(`two syncs wanted: ${syncs}`);
    return [page];
  },

  async full(browser) {
    const page = await open(browser, "ada", "laptop");
    await hook(page, "connect").click();
    await until("it waits", async () => (await hook(page, "state").getAttribute("data-state")) === "waiting");
    const text = await page.locator("body").innerText();
    if (!/\d+\s*s/.test(text)) throw new Error("no time to wait is shown");
    await picture(page, "full");
    page.faults = [];
    return [page];
  },
};

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage"],
});
let failed = false;
try {
  for (const page of await scenarios[process.argv[2]](browser)) {
    // What was asked with the wrong key may be answered late: Chromium reports each 401 by itself.
    const faults = page.faults.filter((fault) => process.argv[2] !== "keyed" || !fault.includes("401 (Unauthorized)"));
    if (faults.length > 0) throw new Error(`the page complained: ${faults.join("; ")}`);
  }
  console.log(`ok ${process.argv[2]}`);
} catch (error) {
  console.log(`FAILED ${process.argv[2]}: ${error.message}`);
  failed = true;
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);
