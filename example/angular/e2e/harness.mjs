// Starts what the tests need and gives them a browser that notices everything.
//
//   IDPKIT_E2E_ISSUER       use the provider that runs there
//   IDPKIT_E2E_APP          use the application that runs there (one nonce setting only)
//   IDPKIT_E2E_PROVIDER     start this provider binary instead of building example/quickstart
//   IDPKIT_E2E_SCREENSHOTS  write a picture of every page into this folder
//   IDPKIT_E2E_CHROMIUM     the browser; default /usr/bin/chromium
//   IDPKIT_E2E_USER, IDPKIT_E2E_PASSWORD
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { serve } from '../serve.mjs';
import { AppPage, ProviderPage } from './pages.mjs';

const env = process.env;
const example = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');

// At a provider of the tests' own, everybody who visits is somebody else: no
// grants left over from another test, and no shared count of password tries.
const VISITORS = 40;
const PASSWORD = env.IDPKIT_E2E_PASSWORD ?? 'wonderland';
const username = (visitor) => (env.IDPKIT_E2E_ISSUER ? (env.IDPKIT_E2E_USER ?? 'alice') : `visitor-${visitor}`);

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** Provider, application and browser, for one setting of the application. */
export async function startStage({ ignoreNonceAfterRefresh }) {
  const closers = [];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) {
      await closer();
    }
  };
  try {
    const port = env.IDPKIT_E2E_APP ? Number(new URL(env.IDPKIT_E2E_APP).port) : await freePort();
    const provider = env.IDPKIT_E2E_ISSUER
      ? { issuer: env.IDPKIT_E2E_ISSUER }
      : await startProvider(`https://localhost:${port}`, closers);
    let origin = env.IDPKIT_E2E_APP;
    if (!origin) {
      const app = await serve({ port, settings: { authority: provider.issuer, ignoreNonceAfterRefresh } });
      closers.push(app.close);
      origin = app.origin;
    }
    const browser = await chromium.launch({
      executablePath: env.IDPKIT_E2E_CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync',
      ],
    });
    closers.push(() => browser.close());
    let visitors = 0;
    return {
      origin,
      issuer: provider.issuer,
      close,
      visit(options) {
        const user = { username: username(visitors++), password: PASSWORD };
        return visit(browser, origin, provider.issuer, user, options);
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * One person at one browser: a context of its own, whose pages all report to
 * the same list of complaints. `expected` in finish() names, as patterns, the
 * complaints that the test provokes; each must occur, and nothing else may.
 */
async function visit(browser, origin, issuer, user, { size = 'desktop', locale = 'en-GB' } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: SIZES[size], locale });
  const complaints = [];
  await context.exposeBinding('reportViolation', (_, text) => complaints.push(`violation: ${text}`));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) =>
      window.reportViolation(`${event.effectiveDirective} ${event.blockedURI} on ${event.documentURI}`));
  });
  const watch = (page) => {
    page.setDefaultTimeout(20_000);
    page.on('console', (message) => {
      if (message.type() === 'error') {
        complaints.push(`console: ${message.text()} (${message.location().url})`);
      }
    });
    page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  };
  context.on('page', watch);

  const open = async () => {
    const page = await context.newPage();
    return { page, app: new AppPage(page, origin), provider: new ProviderPage(page, issuer) };
  };
  return {
    ...(await open()),
    user,
    context,
    anotherTab: open,
    adopt: (page) => ({ page, app: new AppPage(page, origin), provider: new ProviderPage(page, issuer) }),
    async finish(expected = []) {
      await context.close();
      const unexpected = complaints.filter((complaint) => !expected.some((pattern) => pattern.test(complaint)));
      assert.deepEqual(unexpected, [], 'the browser complained');
      for (const pattern of expected) {
        assert.ok(complaints.some((complaint) => pattern.test(complaint)), `no complaint like ${pattern}`);
      }
    },
    /** Ends the visit of a test that failed; returns what may explain it. */
    async abandon() {
      await context.close();
      return complaints;
    },
  };
}

/** Writes <folder>/<size>/<name>.png when pictures are asked for. */
export async function picture(page, size, name) {
  const folder = env.IDPKIT_E2E_SCREENSHOTS;
  if (folder) {
    mkdirSync(path.join(folder, size), { recursive: true });
    await page.screenshot({ path: path.join(folder, size, `${name}.png`), fullPage: true });
  }
}

async function startProvider(appOrigin, closers) {
  const folder = mkdtempSync(path.join(tmpdir(), 'idpkit-e2e-'));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));

  const binary = env.IDPKIT_E2E_PROVIDER ?? (built ??= buildProvider());
  const issuer = `http://localhost:${await freePort()}`;
  const config = path.join(folder, 'config.json');
  writeFileSync(config, JSON.stringify(providerConfig(binary, issuer, folder, appOrigin), null, 2));

  const child = spawn(binary, ['-config', config], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stdout.on('data', (data) => (log += data));
  child.stderr.on('data', (data) => (log += data));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  closers.push(async () => {
    child.kill('SIGTERM');
    await gone;
  });
  await answers(`${issuer}/.well-known/openid-configuration`, () => {
    if (child.exitCode !== null) {
      throw new Error(`the provider ended with status ${child.exitCode}:\n${log}`);
    }
  });
  return { issuer };
}

let built; // one binary for all stages of this run

function buildProvider() {
  const binary = path.join(example, '.run', 'e2e-quickstart');
  const { status, stderr } = spawnSync('go', ['build', '-o', binary, './quickstart'], { cwd: example, encoding: 'utf8' });
  assert.equal(status, 0, `go build ./quickstart: ${stderr}`);
  return binary;
}

/** What example/quickstart reads with -config: JSON is YAML, too. */
function providerConfig(binary, issuer, folder, appOrigin) {
  const hash = spawnSync(binary, ['hash-password'], { input: `${PASSWORD}\n`, encoding: 'utf8' });
  assert.equal(hash.status, 0, `hash-password: ${hash.stderr}`);
  return {
    issuer,
    name: 'Example provider',
    storage: `sqlite:${path.join(folder, 'idpkit.sqlite')}`,
    authorization_details: [
      {
        type: 'account_access',
        title: 'Access to your bank accounts',
        members: [
          { name: 'actions', title: 'It may', required: true, values: { read_balances: 'see balances', read_transactions: 'see transactions' } },
          { name: 'accounts', title: 'Accounts' },
        ],
      },
    ],
    clients: [
      {
        client_id: 'client-par-required',
        client_name: 'Ledger',
        client_uri: appOrigin,
        application_type: 'web',
        token_endpoint_auth_method: 'none',
        require_pushed_authorization_requests: true,
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        redirect_uris: [appOrigin],
        post_logout_redirect_uris: [appOrigin],
        scope: 'openid offline_access profile email',
        authorization_details_types: ['account_access'],
      },
    ],
    users: Array.from({ length: VISITORS }, (_, visitor) => ({
      username: username(visitor),
      password_hash: hash.stdout.trim(),
      claims: { name: `Alice Liddell ${visitor}`, preferred_username: username(visitor), updated_at: 1767225600 },
    })),
  };
}

async function answers(url, check) {
  for (;;) {
    check();
    try {
      const response = await fetch(url);
      if (response.ok) {
        return;
      }
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, 'localhost', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
