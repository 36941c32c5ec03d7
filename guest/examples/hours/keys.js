// What a session is keyed by: `host[?tag&tag][#session]`, the host in lower case and without its port.

const PLAIN = /^[!-~]+$/;

// The key of a request. An error of the key is one of the words of `key-error`; `wrap` puts it into what the
// caller may throw.
export function keyOf(target, options, wrap = (error) => ({ tag: "key", val: error })) {
  const { tags = [], session } = options ?? {};
  let key = hostOf(target, wrap);
  if (tags.length > 0) key += `?${[...new Set(tags)].sort().join("&")}`;
  if (session !== undefined) key += `#${session}`;
  if (key.length > 512) throw wrap({ tag: "too-long", val: 512 });
  if (!PLAIN.test(key)) throw wrap({ tag: "forbidden", val: forbidden(key) });
  return key;
}

// A key as operators write it: whole already, but for its host.
export function wholeKey(text) {
  const [, target, rest] = text.match(/^([^?#]*)(.*)$/s);
  return keyOf(target, undefined, (error) => ({ tag: "key", val: error })) + rest;
}

function hostOf(target, wrap) {
  const v6 = target.match(/^\[([^\]]*)\](:\d+)?$/)?.[1] ?? (target.split(":").length > 2 ? target : undefined);
  const [name, port] = v6 === undefined ? target.split(":") : [v6];
  if (port !== undefined && !/^\d*$/.test(port)) throw wrap({ tag: "port" });
  const host = name.replace(/\.+$/, "").toLowerCase();
  if (host === "") throw wrap({ tag: "empty" });
  if (host.length > 253) throw wrap({ tag: "too-long", val: 253 });
  const bad = host.search(/[^!-~]|[/?#@\\[\]]/);
  if (bad >= 0) throw wrap(host.charCodeAt(bad) > 126 ? { tag: "not-ascii", val: bad } : { tag: "forbidden", val: forbidden(host, bad) });
  return host;
}

const forbidden = (text, position = text.search(/[^!-~]/)) => ({
  byte: text.charCodeAt(position) & 255,
  position,
});
