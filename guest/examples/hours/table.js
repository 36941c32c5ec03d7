// The session table, in storage. Instances on other threads work on it at the same moment, so everything is
// written by compare-exchange: it holds only if the entry is still as it was seen, and who loses looks again.

import { compareExchange, firstToExpire, load, scan } from "remora:egress/storage@0.1.0";

// The numbers of the tables are a plugin's own affair.
const SESSIONS = 0;
const CURSOR = 4;

const NEVER = 2n ** 64n - 1n;
const MAX_TTL = 366n * 24n * 3_600_000n;
const ATTEMPTS = 1_000;

// A cell is six words and an expiry. Ours: the proxy's two halves, the generation, when it was bound.
const cell = (proxy, generation, time, ttl) => ({
  a: proxy.high,
  b: proxy.low,
  c: generation,
  d: time,
  e: 0n,
  f: 0n,
  expiresAt: time + (ttl < MAX_TTL ? ttl : MAX_TTL),
});
const session = ({ a, b, c, d, expiresAt }) => ({
  proxy: { high: a, low: b },
  generation: c,
  boundAt: d,
  expiresAt,
});

// An entry that is over may still be answered: the storage drops it when it likes.
const isLive = (seen, time) => seen !== undefined && time < seen.expiresAt;

// An import that fails throws an error with the word of `storage-error` in it; where it happens decides what
// the caller has to be told.
const storage = (call, wrap = (error) => ({ tag: "storage", val: error })) => {
  try {
    return call();
  } catch (error) {
    throw wrap(error.payload);
  }
};
const asItIs = (error) => error;

// Replaces an entry as often as it takes. `decide` sees what is there and answers with `{ next, answer }`, or
// with `{ answer }` alone to leave it.
function update(tableNumber, key, decide, wrap) {
  let seen = storage(() => load(tableNumber, key), wrap);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const decided = decide(seen, attempt > 0);
    if (!("next" in decided)) return decided.answer;
    const exchanged = storage(() => compareExchange(tableNumber, key, seen, decided.next), wrap);
    if (exchanged.tag === "stored") return decided.answer;
    seen = exchanged.val;
  }
  throw (wrap ?? ((error) => ({ tag: "storage", val: error })))("contended");
}

// A number that nobody else gets: it moves the rotation on, and tells a binding from every other one.
export function ticket(time) {
  return update(CURSOR, "cursor", (seen) => {
    // A store that lost its state must not hand out numbers again that old leases hold.
    const answer = seen?.a ?? time << 20n;
    return { answer, next: { a: answer + 1n, b: 0n, c: 0n, d: 0n, e: 0n, f: 0n, expiresAt: NEVER } };
  });
}

// The key's session: the live one while `keeps` says so of its proxy, or a new one on the proxy that `choose`
// takes by a number. Who finds a session that was not there a moment ago has lost the race and adopts it.
export function bind(key, time, ttl, { keeps, choose }) {
  return update(SESSIONS, key, (seen, raced) => {
    if (isLive(seen, time) && keeps(session(seen).proxy)) {
      return { answer: { session: session(seen), reason: { tag: raced ? "adopted" : "hit" } } };
    }
    const generation = ticket(time);
    const next = cell(choose(generation), generation, time, ttl);
    const end = isLive(seen, time) ? "removed" : "expired";
    const reason = seen === undefined ? { tag: "bound" } : { tag: "rebound", val: end };
    return { next, answer: { session: session(next), reason } };
  });
}

// Ends a session if it is still the one of this lease: a late failure leaves a newer one alone.
export function end(key, proxy, generation) {
  const decide = (seen) => {
    const ours = seen?.a === proxy.high && seen.b === proxy.low && seen.c === generation;
    return ours ? { answer: true, next: undefined } : { answer: false };
  };
  return update(SESSIONS, key, decide, asItIs);
}

// Each bind takes away up to two entries that are over or one too many, so that the table stays bounded.
export function makeRoom(time, max) {
  const { population, entries } = storage(() => firstToExpire(SESSIONS, 2));
  let over = population - max;
  for (const { key, value } of entries) {
    if (isLive(value, time) && over <= 0n) return;
    storage(() => compareExchange(SESSIONS, key, value, undefined));
    over -= 1n;
  }
}

// === what operators ask ===

export function put(key, proxy, time, ttl) {
  const next = ttl === 0n ? undefined : cell(proxy, ticket(time), time, ttl);
  update(SESSIONS, key, () => ({ next }));
}

export function remove(key, time) {
  return update(SESSIONS, key, (seen) => ({ answer: isLive(seen, time), next: undefined }));
}

export function find(key, time) {
  const seen = storage(() => load(SESSIONS, key));
  return isLive(seen, time) ? session(seen) : undefined;
}

export function purge(time, limit) {
  const { entries } = storage(() => firstToExpire(SESSIONS, limit), asItIs);
  const over = entries.filter(({ value }) => !isLive(value, time));
  const removed = over.filter(
    ({ key, value }) => storage(() => compareExchange(SESSIONS, key, value, undefined), asItIs).tag === "stored",
  );
  return removed.length;
}

export function page(cursor, limit, time) {
  const { entries, next } = storage(() => scan(SESSIONS, cursor, limit), asItIs);
  const live = entries.filter(({ value }) => isLive(value, time));
  return { sessions: live.map(({ key, value }) => ({ key, ...session(value) })), next };
}
