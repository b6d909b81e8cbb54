// The console: one user's connection, a form that sends, the ledger and the outboxes, on one page.
// Owns nothing but what it shows. Everything a service or user wrote goes in as text, never as markup.
"use strict";

const STABLE_MS = 60_000; // after this long the count of attempts starts anew
const REFRESH_MS = 2_000;
const SHOWN_MAX = 500; // notifications kept on the page
const SEEN_MAX = 4_096; // ids remembered so that nothing shows twice
const REQUEST_MS = 5_000;
const CHANNELS = ["inapp", "push", "email", "sms", "voice"];
const OUTBOXES = { push: "Push", email: "E-mail", sms: "SMS", voice: "Calls" };
const OUTCOMES = ["delivered", "handed_over", "fell_back", "expired", "dropped", "dead_lettered", "unknown", "open"];
const CLOSES = {
  1000: "closed", 1001: "the node is draining", 1002: "protocol error", 1003: "unsupported data",
  1006: "lost or refused", 1007: "bad UTF-8", 1008: "policy or rate", 1009: "message too big",
  1012: "the node restarts", 1013: "over capacity", 4401: "not authorised: a new token is needed",
  4408: "idle: pings went unanswered", 4409: "replaced by this device's newer connection", 4429: "read too slowly",
};
const STAYS_AWAY = new Set([1000, 1002, 1003, 1007, 1009, 4401, 4409]);

const at = (id) => document.getElementById(id);
const make = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};
const clock = (date) => new Date(date).toLocaleTimeString([], { hour12: false });

let home = { api: null, key: null, local_user: false };
let link = null; // { socket, openedAt, advice }
let wanted = false;
let attempt = 0;
let hint = { spread_ms: 1_000, max_ms: 30_000 };
let retryTimer = 0;
let cursor = null;
let lastSeen = null;
let syncing = false;
let syncAgain = false; // something was left out while a sync was under way
let shownUser = null; // whose notifications the list holds
const seen = new Map(); // id -> its <li>

// ---- connection ----------------------------------------------------------------------------------------

function show(state, detail = "") {
  const box = at("state");
  box.dataset.state = state;
  box.textContent = state;
  at("detail").textContent = detail;
  at("connect").textContent = wanted ? "Disconnect" : "Connect";
}

function connect() {
  clearTimeout(retryTimer);
  const query = new URLSearchParams({ device: at("device").value });
  const protocols = ["tocsin.v1.browser"];
  const token = at("token").value;
  if (token) protocols.push("bearer." + token);
  else query.set("user", at("user").value);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/v1/connect?${query}`, protocols);
  link = { socket, openedAt: 0, advice: null };
  show("connecting");
  const current = link;
  socket.onopen = () => { current.openedAt = Date.now(); };
  socket.onmessage = (event) => { if (link === current) receive(JSON.parse(event.data)); };
  socket.onclose = (event) => { if (link === current) closed(event, current); };
}

function closed(event, was) {
  link = null;
  syncing = false;
  if (was.openedAt && Date.now() - was.openedAt > STABLE_MS) attempt = 0;
  const why = `${event.code} ${CLOSES[event.code] ?? ""}`.trim();
  if (!wanted) return show("closed");
  if (STAYS_AWAY.has(event.code)) {
    wanted = false;
    if (event.code === 4401) at("token-field").hidden = false;
    return show("refused", why);
  }
  if (event.code === 1006 && !was.openedAt) return refused(why);
  waitThenConnect(was.advice ?? retryAfter(event.reason) ?? ownDelay(), why);
}

/** A refusal of the handshake reaches a page only as 1006: the same is asked again in a way that it can read. */
async function refused(why) {
  show("connecting", "asking why it was refused");
  const { status, told } = await ask();
  if (!wanted || link) return;
  const stays = status >= 400 && status < 500 && status !== 429;
  if (!stays) return waitThenConnect(told.retry_after_ms ?? ownDelay(), status < 400 ? why : `${status} ${told.error ?? ""}`);
  wanted = false;
  if (status === 401) at("token-field").hidden = false;
  show("refused", `${status}: ${told.message ?? told.error ?? "the node does not say why"}`);
}

async function ask() {
  const token = at("token").value;
  const query = token ? "" : "?" + new URLSearchParams({ user: at("user").value });
  const options = { method: "POST", body: '{"type":"ping","t":0}', signal: AbortSignal.timeout(REQUEST_MS) };
  if (token) options.headers = { Authorization: "Bearer " + token };
  try {
    const answer = await fetch("/v1/messages" + query, options);
    return { status: answer.status, told: await answer.json().catch(() => ({})) };
  } catch {
    return { status: 0, told: {} }; // nobody is there, or nobody may even ask
  }
}

function retryAfter(reason) {
  try {
    const ms = JSON.parse(reason).retry_after_ms;
    return Number.isFinite(ms) ? ms : null;
  } catch {
    return null;
  }
}

/** Attempt 0 anywhere in the node's spread, attempt n within 2^(n-1)..2^n seconds, never over the maximum. */
function ownDelay() {
  const n = attempt++;
  if (n === 0) return Math.random() * hint.spread_ms;
  const high = 1_000 * 2 ** Math.min(n, 10);
  return Math.min(high / 2 + Math.random() * (high / 2), hint.max_ms);
}

function waitThenConnect(delay, why) {
  const due = Date.now() + delay;
  const tick = () => {
    if (!wanted || link) return;
    const left = due - Date.now();
    if (left <= 0) return connect();
    show("waiting", `${why}; again in ${(left / 1_000).toFixed(1)} s`);
    retryTimer = setTimeout(tick, Math.min(left, 200));
  };
  tick();
}

function disconnect() {
  wanted = false;
  clearTimeout(retryTimer);
  if (link) link.socket.close(1000);
  else show("closed");
}

function say(message) {
  if (link?.socket.readyState === WebSocket.OPEN) link.socket.send(JSON.stringify(message));
}

function sync() {
  if (syncing) {
    syncAgain = true;
    return;
  }
  syncing = true;
  syncAgain = false;
  say({ type: "sync", last_seen_at: cursor ? null : lastSeen, cursor, limit: 50 });
}

function receive(message) {
  switch (message.type) {
    case "welcome":
      hint = message.reconnect ?? hint;
      show("open", `session ${message.session} on ${message.node}`);
      sync();
      break;
    case "notification":
      arrived(message);
      break;
    case "sync_batch":
      syncing = false;
      message.notifications.forEach(arrived);
      cursor = message.cursor;
      if (message.has_more || syncAgain) sync();
      break;
    case "dismiss":
      message.ids.forEach((id) => seen.get(id)?.classList.add("dismissed"));
      break;
    case "gap":
      sync();
      break;
    case "reconnect":
      link.advice = message.after_ms;
      at("detail").textContent = "the node is draining";
      link.socket.close(1000);
      waitAfterAdvice();
      break;
    case "subscribed":
      at("topics").textContent = message.topics.length ? "subscribed: " + message.topics.join(", ") : "";
      break;
    case "error":
      syncing = false;
      at("detail").textContent = `${message.code}: ${message.message}`;
      if (message.code === "bad_cursor" && cursor) {
        cursor = null;
        sync();
      } else if (message.retry_after_ms) setTimeout(sync, message.retry_after_ms);
      else if (syncAgain) sync();
      break;
  }
}

/** The node asked us to leave: our own 1000 must not read as "stay away". */
function waitAfterAdvice() {
  const was = link;
  link = null;
  syncing = false;
  waitThenConnect(was.advice, "the node is draining");
}

// ---- notifications -------------------------------------------------------------------------------------

function arrived(one) {
  if (lastSeen === null || one.created_at > lastSeen) lastSeen = one.created_at;
  if (seen.has(one.id)) return;
  const item = notificationItem(one);
  seen.set(one.id, item);
  if (seen.size > SEEN_MAX) seen.delete(seen.keys().next().value);
  const list = at("notifications");
  list.prepend(item);
  while (list.children.length > SHOWN_MAX) list.lastChild.remove();
  tally();
}

function notificationItem(one) {
  const item = make("li");
  Object.assign(item.dataset, { test: "notification", id: one.id, priority: one.priority, acked: "false" });
  const button = (name, label) => {
    const node = make("button", { type: "button", textContent: label });
    node.dataset.test = name;
    node.onclick = () => acted(name, [item]);
    return node;
  };
  const meta = make("div", { className: "meta" },
    make("span", { textContent: one.priority }),
    one.topic ? make("span", { textContent: "topic " + one.topic }) : "",
    one.category ? make("span", { textContent: one.category }) : "",
    make("time", { dateTime: one.created_at, textContent: clock(one.created_at) }),
    make("span", { className: "push-right" }), button("ack", "Acknowledge"), button("read", "Read"));
  item.append(make("strong", { textContent: one.title ?? "(no title)" }));
  if (one.body) item.append(make("p", { textContent: one.body }));
  if (one.data && Object.keys(one.data).length) item.append(make("pre", { textContent: JSON.stringify(one.data) }));
  item.append(meta);
  return item;
}

/** Another user: nothing of the former one stays on the page. */
function forget() {
  shownUser = at("user").value;
  cursor = lastSeen = null;
  seen.clear();
  at("notifications").replaceChildren();
  at("topics").textContent = "";
  tally();
}

function acted(type, items) {
  const ids = items.map((item) => item.dataset.id);
  for (let from = 0; from < ids.length; from += 200) say({ type, ids: ids.slice(from, from + 200) });
  items.forEach((item) => { item.dataset.acked = "true"; });
  tally();
}

const waiting = () => [...at("notifications").children]
  .filter((item) => item.dataset.acked === "false" && !item.classList.contains("dismissed"));

function tally() {
  at("count").textContent = String(at("notifications").children.length);
  at("empty").hidden = at("notifications").children.length > 0;
  at("ack-all").disabled = waiting().length === 0;
}

// ---- sending -------------------------------------------------------------------------------------------

const serviceKey = () => home.key ?? at("key").value.trim();

async function api(path, options = {}) {
  const headers = { ...options.headers };
  if (serviceKey()) headers.Authorization = "Bearer " + serviceKey();
  return fetch(home.api + path, { ...options, headers, signal: AbortSignal.timeout(REQUEST_MS) });
}

/** What the API says; an answer that is no success is an error that says why. */
async function read(path) {
  const answer = await api(path);
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw Object.assign(new Error(`${answer.status} ${told.title ?? ""}: ${told.detail ?? path}`), { status: answer.status });
}

function target() {
  const name = at("to").value.trim();
  switch (at("to-kind").value) {
    case "users": return { users: name.split(",").map((user) => user.trim()).filter(Boolean) };
    case "topic": return { topic: name };
    case "all": return { all: true };
    default: return { user: name };
  }
}

function composed() {
  const body = { to: target(), priority: at("priority").value, title: at("title").value, body: at("body").value };
  body.channels = CHANNELS.filter((channel) => at("channel-" + channel).checked);
  const fallback = at("fallback").value.split(",").map((channel) => channel.trim()).filter(Boolean);
  if (fallback.length) body.fallback = fallback;
  for (const [field, key] of [["ack-within", "ack_within_s"], ["ttl", "ttl_s"]]) {
    if (at(field).value) body[key] = Number(at(field).value);
  }
  if (at("collapse").value) body.collapse_key = at("collapse").value;
  if (at("send-at").value) body.send_at = new Date(at("send-at").value).toISOString();
  return body;
}

async function send() {
  const out = at("sent");
  const headers = { "Content-Type": "application/json" };
  if (at("idempotency").value) headers["Idempotency-Key"] = at("idempotency").value;
  out.textContent = "sending";
  try {
    const answer = await api("/v1/notifications", { method: "POST", headers, body: JSON.stringify(composed()) });
    const result = await answer.json();
    out.dataset.status = String(answer.status);
    out.textContent = answer.status === 202
      ? `202: ${result.id}, durable in ${result.durable_in}`
      : `${answer.status} ${result.title ?? ""}: ${result.detail ?? ""}`;
    if (answer.status === 202) follow(result.status_url);
  } catch (error) {
    out.dataset.status = "0";
    out.textContent = `the router did not answer: ${error.message}`;
  }
  refresh();
}

let following = 0;
async function follow(url) {
  const mine = ++following;
  for (let look = 0; look < 15 && mine === following; look++) {
    try {
      const path = new URL(url, home.api).pathname;
      showTimeline(await read(path));
    } catch { /* the next look may succeed; the alarm line says when the router is gone */ }
    await new Promise((done) => setTimeout(done, 200 * 2 ** Math.min(look, 4)));
  }
}

function showTimeline(status) {
  at("timeline-box").hidden = false;
  const rows = (status.deliveries ?? []).flatMap((delivery) =>
    (delivery.timeline ?? []).map((event) => ({ ...event, who: `${delivery.recipient} · ${delivery.channel}` })));
  at("timeline").replaceChildren(...(rows.length ? rows : [{ at: null, who: "", state: status.state }]).map((row) =>
    make("li", {}, make("time", { textContent: row.at ? clock(row.at) : "" }), make("span", { textContent: row.who }),
      make("span", { textContent: [row.state ?? row.event, row.reason].filter(Boolean).join(": ") }))));
}

// ---- live figures --------------------------------------------------------------------------------------

async function refresh() {
  if (document.hidden || !home.api) return;
  if (!serviceKey()) return notShown("give a service key to see it");
  try {
    const [status, ledger] = await Promise.all(["/v1/status", "/v1/reconcile"].map(read));
    showLedger(ledger);
    showFigures(status, ledger);
    showProviders(status.providers ?? []);
    await Promise.all([refreshLadders(), ...Object.keys(OUTBOXES).map(refreshOutbox)]);
    at("alarm").hidden = true;
  } catch (error) {
    if (error.status) notShown(error.message);
    alarm(error.status
      ? `The router at ${home.api} refuses: ${error.message}.`
      : `The router at ${home.api} does not answer (${error.message}). What you see below is old.`);
  }
}

function alarm(text) {
  at("alarm").textContent = text;
  at("alarm").hidden = false;
}

/** Nothing is known of the ledger: that must not look like figures that do not add up. */
function notShown(why) {
  at("equation").dataset.balanced = "unknown";
  at("equation").textContent = why;
  at("figures").replaceChildren();
  forgetOperations("");
  Object.keys(OUTBOXES).forEach((channel) => at("outbox-" + channel).replaceChildren());
}

function showLedger(ledger) {
  const box = at("equation");
  const terms = ledger.deliveries ?? {};
  const sum = OUTCOMES.filter((name) => terms[name]).map((name) => `${terms[name]} ${name.replace("_", " ")}`);
  box.dataset.balanced = String(ledger.balanced === true);
  box.textContent = `${terms.accepted ?? 0} accepted ${ledger.balanced ? "=" : "≠"} ${sum.join(" + ") || "0"}`;
}

function showFigures(status, ledger) {
  const figures = { ...(status.figures ?? {}) };
  for (const part of status.dependencies ?? []) figures[part.name] = part.state;
  figures.gaps = (ledger.gaps ?? []).length;
  at("figures").replaceChildren(...Object.entries(figures).map(([name, value]) =>
    make("div", {}, make("dt", { textContent: name.replaceAll("_", " ") }), make("dd", { textContent: String(value) }))));
}

async function refreshOutbox(channel) {
  const page = await read("/v1/outbox?channel=" + channel);
  const items = page.items ?? [];
  at("outbox-" + channel).replaceChildren(...items.slice(0, 20).map((sent) =>
    make("li", {}, make("strong", { textContent: sent.user }), " ", sent.title ?? "", " ",
      make("span", { className: "quiet", textContent: `${sent.body ?? ""} ${sent.at ? clock(sent.at) : ""}` }))));
}

// ---- start ---------------------------------------------------------------------------------------------

function build() {
  for (const channel of CHANNELS) {
    const box = make("input", { type: "checkbox", id: "channel-" + channel, checked: channel === "inapp" });
    box.dataset.test = "send-channels-" + channel;
    at("channels").append(make("label", {}, box, { inapp: "in-app", email: "e-mail", sms: "SMS" }[channel] ?? channel));
  }
  for (const [channel, title] of Object.entries(OUTBOXES)) {
    const list = make("ol", { id: "outbox-" + channel });
    list.dataset.test = "outbox-" + channel;
    at("outbox-columns").append(make("div", {}, make("h3", { textContent: title }), list));
  }
  at("connect-form").onsubmit = (event) => {
    event.preventDefault();
    if (wanted) return disconnect();
    if (shownUser !== at("user").value) forget();
    wanted = true;
    attempt = 0;
    connect();
  };
  at("key").onchange = refresh;
  at("send-form").onsubmit = (event) => { event.preventDefault(); send(); };
  at("ack-all").onclick = () => acted("ack", waiting());
  at("topic-form").onsubmit = (event) => { event.preventDefault(); topics("subscribe"); };
  at("unsubscribe").onclick = () => topics("unsubscribe");
  at("to-kind").onchange = () => {
    const kind = at("to-kind").value;
    at("to").disabled = kind === "all";
    at("to-label").textContent = kind === "users" ? "Names, by comma" : "Name";
  };
}

function topics(type) {
  const name = at("topic").value.trim();
  if (name) say({ type, topics: [name] });
}

async function start() {
  build();
  const asked = new URLSearchParams(location.search);
  at("device").value = asked.get("device") ?? "console-" + Math.random().toString(36).slice(2, 7);
  if (asked.has("user")) at("user").value = at("to").value = asked.get("user");
  try {
    const answer = await fetch("/v1/console", { signal: AbortSignal.timeout(REQUEST_MS) });
    if (answer.ok) home = await answer.json();
  } catch { /* said below */ }
  at("token-field").hidden = home.local_user;
  at("key-field").hidden = !home.api || home.key !== null;
  if (!home.api) alarm("This gateway names no router API: you can receive here, but not send or see the ledger.");
  if (asked.has("connect")) at("connect-form").requestSubmit();
  refresh();
  setInterval(refresh, REFRESH_MS);
}

start();
