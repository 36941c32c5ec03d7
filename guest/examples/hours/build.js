// Makes a component of hours.js: node build.js OUTPUT
//
// (componentize-js 0.23 imports preview2-shim without saying so: package.json says it.)

import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { componentize } from "@bytecodealliance/componentize-js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [output] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: here("hours.js"),
  witPath: here("../../../wit"),
  worldName: "plugin",
  // All there is: a plugin may import remora's clock and storage, and nothing of WASI.
  disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
});
await mkdir(dirname(output), { recursive: true });
await writeFile(output, component);
