/* A real browser with a page on which every trespass is noted: console errors, policy violations, requests to other hosts. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const ARGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];
const TIMEOUT_MS = Number(process.env.PARLEY_BROWSER_TIMEOUT_MS ?? 60_000);

export async function openBrowser(base) {
  const browser = await chromium.launch({ executablePath: process.env.PARLEY_CHROMIUM ?? '/usr/bin/chromium', args: ARGS });
  const context = await browser.newContext({ baseURL: base, viewport: { width: 1280, height: 800 }, locale: 'en-GB', colorScheme: 'light' });
  const trespasses = [];
  /* While a connection is broken on purpose the browser reports failed requests, and of a conversation that is another's
   * that it is not found, or of what is sent to be refused that it is; nothing else is excused. */
  const excused = { network: false, missing: null, refused: null };

  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} blocked ${e.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    const { url } = message.location();
    if (url.endsWith('/api/v1/users/me') && message.text().includes('401')) return; // asking who one is, signed out
    if (excused.missing && url.includes(excused.missing) && message.text().includes('404')) return;
    if (excused.refused && url.includes(excused.refused) && message.text().includes('400')) return;
    if (excused.network && message.text().includes('net::ERR_')) return;
    trespasses.push(`console: ${message.text()} (${url})`);
  });
  page.on('pageerror', (error) => trespasses.push(`error: ${error.stack ?? error.message}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== new URL(base).origin && !['data:', 'blob:'].includes(url.protocol)) trespasses.push(`request: ${url}`);
  });
  return { browser, context, page, trespasses, excused };
}

/** A picture of what went wrong, when $PARLEY_ARTIFACTS names a folder. */
export async function keepPicture(page, name) {
  const folder = process.env.PARLEY_ARTIFACTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name.replace(/\W+/g, '-')}.png`) }).catch(() => undefined);
}
