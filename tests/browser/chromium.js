// A page in headless Chromium, on a server that only has the package.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const TYPES = { ".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html" };

/** An empty page, in which the names of the package are those of its exports map. */
async function emptyPage() {
  const { exports } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const imports = {};
  for (const [name, conditions] of Object.entries(exports)) {
    const file = conditions.browser ?? conditions.default;
    if (file !== undefined) imports[`dekker${name.slice(1)}`] = file.slice(1);
  }
  return `<!doctype html><title>dekker</title><script type="importmap">${JSON.stringify({ imports })}</script>`;
}

/** Serves the package's files and those of the tests; every page is empty. */
async function serve() {
  const page = await emptyPage();
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    if (path === "/") return response.writeHead(200, { "content-type": "text/html" }).end(page);
    if (!/^\/(dist|tests)\//.test(path)) return response.writeHead(404).end();
    try {
      const file = await readFile(join(root, path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(file);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** Launches a browser with an empty profile: `{ context, close }`. */
export async function launch() {
  const profile = await mkdtemp(join(tmpdir(), "dekker-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.DEKKER_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const close = async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { context, close };
}

/** Opens a browser that only contacts the server: `{ context, newPage, faults, close }`. */
export async function open() {
  const server = await serve();
  const { context, close: closeBrowser } = await launch();
  const url = `http://127.0.0.1:${server.address().port}/`;
  const faults = [];
  const newPage = async () => {
    const page = await context.newPage();
    page.on("pageerror", (fault) => faults.push(fault));
    await page.goto(url);
    return page;
  };
  const close = async () => {
    await closeBrowser();
    server.closeAllConnections();
    server.close();
  };
  return { context, newPage, faults, close };
}
