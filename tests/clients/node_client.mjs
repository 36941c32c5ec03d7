// https-proxy-agent, one kept agent: PROXY ORIGIN CA. Prints what it saw as JSON (see python_clients.py).
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';

const require = createRequire(process.env.REMORA_CLIENTS + '/');
const { HttpsProxyAgent } = require('https-proxy-agent');
const [proxy, origin, ca] = process.argv.slice(2);
const agent = new HttpsProxyAgent(proxy, { keepAlive: true });
const trusted = readFileSync(ca);

const get = (path) => new Promise((resolve, reject) => {
  // For an address the agent names no server, and Node would look for `localhost` in the certificate.
  https.get(origin + path, { agent, ca: trusted, checkServerIdentity: () => undefined }, (response) => {
    let body = '';
    response.on('data', (part) => { body += part; });
    response.on('end', () => resolve(body));
    response.on('error', reject);
  }).on('error', reject);
});

const [exits, errors, began] = [[], [], Date.now()];
for (const [at, path] of [[0, '/'], [1, '/'], [4.3, '/'], [6.3, '/think/5'], [14, '/']]) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + at * 1000 - Date.now())));
  try {
    exits.push(await get(path));
  } catch (error) {
    exits.push(null);
    errors.push(`${path} at ${at} s: ${error}`);
  }
}
console.log(JSON.stringify({ exits, errors }));
agent.destroy();
