// What operators watch on the console: each provider's account, and one-use codes on their way, rung by rung.
// Owns these two lists. What comes from outside goes in as text, never as markup. Called by console.js at each refresh.
"use strict";

const LADDERS_SHOWN = 20;
const GOOD = new Set(["ok", "delivered", "verified"]);
const BAD = new Set(["open", "unauthorised", "exhausted", "dead_lettered"]);

const look = (word) => (GOOD.has(word) ? "good" : BAD.has(word) ? "bad" : "");
const words = (name) => String(name).replaceAll("_", " ");

/** How long ago, in one unit. */
function age(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

const since = (date) => (date ? age(Math.max(0, (Date.now() - Date.parse(date)) / 1_000)) : "");

function stateWord(state) {
  const word = make("span", { className: "word", textContent: words(state) });
  word.dataset.look = look(state);
  return word;
}

// ---- providers -----------------------------------------------------------------------------------------

function showProviders(providers) {
  at("providers-table").replaceChildren(...providers.map(providerRow));
}

function providerRow(one) {
  const row = make("tr", {}, make("th", { scope: "row", textContent: one.way }), cell(one.provider), make("td", {}, stateWord(one.state)));
  row.dataset.test = "provider-" + one.way;
  row.dataset.state = one.state;
  if (!one.answers) {
    row.append(make("td", { colSpan: 6, className: "quiet", textContent: one.provider === "outbox" ? "kept in the outbox" : "nothing goes by it" }));
    return row;
  }
  const { budget } = one;
  const errors = Object.entries(one.errors_lately).map(([name, count]) => `${count} ${name}`).join(", ");
  const last = one.last_error ? `${one.last_error.class} ${one.last_error.code}, ${since(one.last_error.at)} ago` : "";
  row.append(
    cell([words(one.breaker), since(one.breaker_since)].filter(Boolean).join(" ")),
    cell(one.waiting ? `${one.waiting}, oldest ${age(one.oldest_waiting_s)}` : "0"),
    cell(String(one.under_way)),
    cell(`${budget.per_s}/s` + (one.throttled ? `, ${one.throttled} × 429` : "")),
    cell(one.last_taken_at ? since(one.last_taken_at) + " ago" : "never"),
    cell([errors, last && `last ${last}`].filter(Boolean).join("; ")));
  return row;
}

const cell = (text) => make("td", { textContent: text });

// ---- one-use codes -------------------------------------------------------------------------------------

async function refreshLadders() {
  try {
    showLadders((await read("/v1/otp?limit=" + LADDERS_SHOWN)).items ?? []);
  } catch (error) {
    if (!error.status) throw error;
    // 403: not an operator's key; 501: several routers have no codes.
    ladders([], error.status === 403 ? "Only an operator's key sees them." : error.message);
  }
}

const showLadders = (items) => ladders(items, items.length ? "" : "No code went out yet.");

function ladders(items, said) {
  at("ladders-list").replaceChildren(...items.map(ladderItem));
  at("ladders-none").textContent = said;
  at("ladders-none").hidden = !said;
}

function ladderItem(one) {
  const steps = make("ol", { className: "rungs" }, ...one.rungs.map(rungItem));
  const item = make("li", {},
    make("div", { className: "meta" }, make("strong", { textContent: one.user }), make("span", { textContent: one.service }),
      stateWord(one.state), make("time", { className: "push-right", textContent: one.accepted_at ? since(one.accepted_at) + " ago" : "" })),
    steps);
  item.dataset.test = "ladder";
  item.dataset.id = one.id;
  item.dataset.state = one.state;
  return item;
}

function rungItem(rung) {
  const told = [rung.age_s === null ? "" : age(rung.age_s), rung.reason].filter(Boolean).join(", ");
  const item = make("li", {}, make("span", { textContent: rung.channel }), stateWord(rung.state), make("span", { className: "quiet", textContent: told }));
  item.dataset.test = "rung-" + rung.channel;
  return item;
}

/** Nothing is known: what stood there may be wrong by now. */
function forgetOperations(why) {
  showProviders([]);
  ladders([], why);
}
