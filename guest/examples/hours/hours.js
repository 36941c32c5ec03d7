// Sessions only in opening hours: a plugin for remora in JavaScript.
//
// A proxy with the tag `hours=8-20` gets new sessions from 8 to 20 o'clock UTC, one with `hours=22-6` by night,
// one without such a tag at any time. A live session stays where it is. When no proxy is open, the error says
// when the first one opens.
//
// It is the whole world `remora:egress/plugin`, so it shows what that takes. What it leaves out: circuit
// breakers, weights, and everything that `configure` refuses.

import { now } from "remora:egress/clock@0.1.0";
import { keyOf, wholeKey } from "./keys.js";
import * as table from "./table.js";

const HOUR = 3_600_000n;

// What the host tells every instance, in the same order. What requests change is in storage (table.js): there
// are several instances, and any of them may be lost.
let config = { ttl: 0n, maxSessions: 100_000n, leaseTimeout: 300_000n };
let pool = [];

export const control = {
  configure({ sticky, scope, overrides, strategy, maxSessions, leaseTimeout }) {
    only("sticky.scope", scope, "host");
    only("rotation.strategy", strategy, "round-robin");
    only("sticky.on_bad", sticky.onBad, "rebind");
    only("sticky.idle", sticky.idle, undefined);
    only("sticky.max_requests", sticky.maxRequests, undefined);
    only("sticky.override", overrides[0]?.pattern, undefined);
    config = { ttl: sticky.mode === "domain" ? sticky.ttl : 0n, maxSessions, leaseTimeout };
  },

  addProxies(proxies) {
    // All or none: hours that cannot be read are found before anything is changed.
    const added = proxies.map((proxy) => ({ proxy, hours: hoursOf(proxy), healthy: true }));
    for (const one of added) {
      const known = find(one.proxy.id);
      if (known) Object.assign(known, { proxy: one.proxy, hours: one.hours });
      else pool.push(one);
    }
  },

  removeProxy(id) {
    const known = find(id);
    pool = pool.filter((one) => one !== known);
    return known !== undefined;
  },

  setHealth(id, healthy) {
    const known = find(id);
    if (known) known.healthy = healthy;
    return known !== undefined;
  },

  stats() {
    const time = now();
    const available = pool.filter((one) => isAvailable(one, time));
    return { total: pool.length, healthy: available.length, open: 0 };
  },

  proxies(offset, limit) {
    const time = now();
    return pool.slice(offset, offset + limit).map((one) => ({
      proxy: one.proxy,
      healthy: one.healthy,
      available: isAvailable(one, time),
      breaker: { tag: "closed", val: 0 },
      inFlight: 0n,
    }));
  },
};

export const egress = {
  acquire(target, options) {
    const time = now();
    if (target === undefined) return lease(pick(time, options, table.ticket(time)), 0n, time, { tag: "rotated" });
    const key = keyOf(target, options);
    const ttl = options?.ttl ?? config.ttl;
    if (config.ttl === 0n || ttl === 0n) {
      return lease(pick(time, options, table.ticket(time)), 0n, time, { tag: "rotated" }, undefined, key === target);
    }
    // The rule that matters most: a key is bound once, however many instances try at the same moment. `bind`
    // asks us for a proxy only if there is none to stay on, and a race has one winner.
    const { session, reason } = table.bind(key, time, ttl, {
      keeps: (id) => find(id)?.healthy === true,
      choose: (ticket) => pick(time, options, ticket).proxy.id,
    });
    if (reason.tag !== "hit" && reason.tag !== "adopted") table.makeRoom(time, config.maxSessions);
    return lease(find(session.proxy), session.generation, time, reason, session, key === target);
  },

  sessionKey: (target, options) => keyOf(target, options, (error) => error),

  // The others that are open, in turn from the one that the lease's generation points at.
  fallbacks(used, target, options, limit) {
    const time = now();
    const { tags = [], tried = [] } = options ?? {};
    const others = pool.filter(
      (one) =>
        isAvailable(one, time) &&
        tags.every((tag) => one.proxy.tags.includes(tag)) &&
        ![used.proxy, ...tried].some((id) => same(id, one.proxy.id)),
    );
    const first = others.length > 0 ? Number(used.generation % BigInt(others.length)) : 0;
    const turn = [...others.slice(first), ...others.slice(0, first)];
    return turn.slice(0, limit).map((one) => lease(one, 0n, time, { tag: "rotated" }).lease);
  },

  settle: ([first], about) => ended(first.lease, first.outcome, about),

  release: (used, outcome, about) => ended(used, outcome, about),

  holds({ proxy, generation }, key) {
    if (find(proxy)?.healthy !== true) return false;
    return generation === 0n || table.find(key, now())?.generation === generation;
  },
};

export const sessions = {
  bind: (key, proxy, ttl) => table.put(wholeKey(key), proxy, now(), ttl),
  unbind: (key) => table.remove(wholeKey(key), now()),
  lookup: (key) => table.find(wholeKey(key), now())?.proxy,
  purgeExpired: (limit) => table.purge(now(), limit),
  activeCount(cursor, limit) {
    const { sessions, next } = table.page(cursor, limit, now());
    return { count: sessions.length, next };
  },
  list: (cursor, limit) => table.page(cursor, limit, now()),
};

// === the pool ===

const same = (a, b) => a.high === b.high && a.low === b.low;
const find = (id) => pool.find((one) => same(one.proxy.id, id));
const isAvailable = (one, time) => one.healthy && untilOpen(one, time) === 0n;

// The next proxy in turn of those that are open and have not been tried.
function pick(time, options, turn) {
  const { tags = [], tried = [] } = options ?? {};
  const serving = pool.filter((one) => one.healthy && tags.every((tag) => one.proxy.tags.includes(tag)));
  if (serving.length === 0) throw { tag: "no-proxy" };
  const open = serving.filter((one) => untilOpen(one, time) === 0n);
  if (open.length === 0) {
    const waits = serving.map((one) => untilOpen(one, time));
    throw { tag: "exhausted", val: waits.reduce((a, b) => (a < b ? a : b)) };
  }
  const fresh = open.filter((one) => !tried.some((id) => same(id, one.proxy.id)));
  const choice = fresh.length > 0 ? fresh : open;
  return choice[Number(turn % BigInt(choice.length))];
}

// Only these two end a session: this plugin has no breakers, and compares nothing.
function ended({ proxy, generation }, outcome, about) {
  const ends = generation !== 0n && (outcome === "failure" || outcome === "blocked");
  return {
    endedSession: ends && about !== undefined && table.end(about.key, proxy, generation),
    breaker: "none",
    others: [],
  };
}

function lease(one, generation, time, reason, session, keyIsTarget = true) {
  return {
    lease: {
      proxy: one.proxy.id,
      generation,
      era: 0,
      probe: false,
      acquiredAt: time,
      deadline: time + config.leaseTimeout,
      doubted: false,
    },
    reason,
    session,
    keyIsTarget,
  };
}

// === hours ===

// `hours=FROM-TO`, in whole hours UTC; over midnight where the end is the smaller one.
function hoursOf({ tags }) {
  const tag = tags.find((tag) => tag.startsWith("hours="));
  if (tag === undefined) return undefined;
  const [, from, to] = tag.match(/^hours=(\d{1,2})-(\d{1,2})$/)?.map(Number) ?? [];
  if (from < 24 && to <= 24) return { from, to: to % 24 };
  throw { field: "proxy.tags", value: tag, accepted: "hours=FROM-TO in whole hours UTC, such as hours=8-20" };
}

// Milliseconds until new sessions are taken; 0 while they are.
function untilOpen({ hours }, time) {
  if (hours === undefined || hours.from === hours.to) return 0n;
  const { from, to } = hours;
  const hour = Number((time / HOUR) % 24n);
  const open = from < to ? from <= hour && hour < to : from <= hour || hour < to;
  return open ? 0n : BigInt((from - hour + 24) % 24) * HOUR - (time % HOUR);
}

// A setting that this plugin does not have is refused, not ignored.
function only(field, value, accepted) {
  if (value !== accepted) throw { field, value: String(value), accepted: accepted ?? "nothing: hours.js has no such thing" };
}
