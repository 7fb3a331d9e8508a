// Follows the fleet: puts parts that have changed in their places, and words times as ages. Everything else is the server's.
"use strict";

const { home, part } = document.body.dataset;
let { since } = document.body.dataset;
const connection = document.getElementById("connection");
const QUIET = 5000;
let loaded = Date.now();
let planned = null;
// Parts that came while the page was on its way: they may be newer than it.
let meanwhile = {};

// The element that has the focus is found again by its id.
function keepFocus(change) {
  const held = document.activeElement?.id;
  change();
  if (held && document.activeElement?.id !== held) document.getElementById(held)?.focus({ preventScroll: true });
}

function put(parts) {
  keepFocus(() => {
    for (const [id, html] of Object.entries(parts)) {
      const old = document.getElementById(id);
      if (!old) continue;
      const box = document.createElement("template");
      box.innerHTML = html;
      old.replaceWith(box.content);
    }
  });
  age();
}

async function load() {
  planned = null;
  loaded = Date.now();
  meanwhile = {};
  const answer = await fetch(location.href).catch(() => null);
  const page = new DOMParser().parseFromString(answer ? await answer.text() : "", "text/html");
  // An object that is gone says so; what could not be asked is asked again.
  if (!answer || answer.status >= 500) plan();
  if (!page.getElementById("content")) return;
  const typed = document.getElementById("q")?.value;
  keepFocus(() => document.getElementById("content").replaceChildren(...page.getElementById("content").childNodes));
  const field = document.getElementById("q");
  if (field && typed !== undefined) field.value = typed;
  put(meanwhile);
}

// At most every few seconds: an explanation costs the hub a decision.
function plan() {
  planned ??= setTimeout(load, Math.max(0, loaded + QUIET - Date.now()));
}

function words(seconds) {
  const past = Math.abs(seconds);
  const [number, unit] =
    past < 120 ? [past, "s"] : past < 7200 ? [past / 60, "m"] : past < 172800 ? [past / 3600, "h"] : [past / 86400, "d"];
  const text = Math.floor(number) + unit;
  return seconds < 0 ? "in " + text : text + " ago";
}

function age() {
  for (const time of document.getElementsByTagName("time")) {
    time.title ||= time.textContent;
    const text = words((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

function change({ parts, reload }) {
  if (reload || part?.split(" ").some((id) => id in parts)) plan();
  if (part) return;
  Object.assign(meanwhile, parts);
  put(parts);
}

let source = null;

// A tab that nobody looks at keeps no connection: browsers open six to a server, and the seventh tab would wait for ever.
function follow() {
  source?.close();
  if (!since || document.hidden) return;
  source = new EventSource(home + "events?since=" + since);
  source.onopen = () => (connection.textContent = "");
  source.onerror = () => (connection.textContent = "the command that serves this page does not answer: what is shown may be old");
  source.addEventListener("change", (event) => {
    since = event.lastEventId;
    change(JSON.parse(event.data));
  });
}

document.addEventListener("visibilitychange", follow);
follow();
age();
setInterval(age, 5000);
