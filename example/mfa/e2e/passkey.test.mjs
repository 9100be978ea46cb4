// The pages and their script in a browser, with the browser's own software
// authenticator in place of a finger.
//
//   IDPKIT_E2E_SCREENSHOTS  write a picture of every page into this folder
//   IDPKIT_E2E_CHROMIUM     the browser; default /usr/bin/chromium
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const env = process.env;
const example = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const ESSENTIAL = `/app/?claims=${encodeURIComponent('{"id_token":{"acr":{"essential":true,"values":["phr"]}}}')}`;

const closers = [];
let browser, binary;

before(async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'idpkit-mfa-'));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));
  binary = path.join(folder, 'mfa');
  const { status, stderr } = spawnSync('go', ['build', '-o', binary, './mfa'], { cwd: example, encoding: 'utf8' });
  assert.equal(status, 0, `go build ./mfa: ${stderr}`);
  browser = await chromium.launch({
    executablePath: env.IDPKIT_E2E_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  closers.push(() => browser.close());
});
after(async () => {
  for (const close of closers.reverse()) await close();
});

/** A provider of this test's own: nobody has a passkey yet. */
async function provider(t) {
  const addr = `localhost:${await freePort()}`;
  const child = spawn(binary, ['-addr', addr], { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGINT');
    await gone;
  });
  for (;;) {
    assert.equal(child.exitCode, null, 'the provider ended');
    const answer = await fetch(`http://${addr}/.well-known/openid-configuration`).catch(() => null);
    if (answer?.ok) return `http://${addr}`;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject).listen(0, 'localhost', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A browser at a provider, whose pages report every complaint. */
async function visit(t, size) {
  const origin = await provider(t);
  const context = await browser.newContext({ viewport: SIZES[size] });
  t.after(() => context.close());
  const complaints = [];
  await context.exposeBinding('reportViolation', (_, text) => complaints.push(text));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (e) => window.reportViolation(`${e.effectiveDirective} ${e.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('console', (m) => m.type() === 'error' && !m.location().url.endsWith('/favicon.ico') && complaints.push(m.text()));
  page.on('pageerror', (e) => complaints.push(e.message));
  return { origin, context, page, complaints };
}

async function authenticator(context, page, options) {
  const cdp = await context.newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: true, automaticPresenceSimulation: true, ...options,
    },
  });
  return {
    verifies: (isUserVerified) => cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }),
    keys: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
  };
}

for (const size of ['desktop', 'phone']) {
  it(`passkeys on a ${size}`, async (t) => {
    const { origin, context, page, complaints } = await visit(t, size);
    const device = await authenticator(context, page);
    const problem = page.locator('#problem');
    const button = (name) => page.getByRole('button', { name });
    const open = (at) => page.goto(origin + at);
    const fits = async (name) => {
      if (env.IDPKIT_E2E_SCREENSHOTS) {
        mkdirSync(env.IDPKIT_E2E_SCREENSHOTS, { recursive: true });
        await page.screenshot({ path: path.join(env.IDPKIT_E2E_SCREENSHOTS, `${size}-${name}.png`), fullPage: true });
      }
      const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      assert.ok(content <= screen, `${name} is ${content} px wide on a screen of ${screen}`);
    };
    const password = async (value) => {
      await page.getByLabel('Name').fill('alice');
      await page.getByLabel('Password').fill(value);
      await button('Sign in').first().click();
    };
    /** acr and amr of the ID token that the application shows. */
    const signedIn = async () => {
      await page.waitForURL('**/app/cb?*');
      const { id_token } = JSON.parse(await page.locator('pre').textContent());
      const { acr, amr } = JSON.parse(Buffer.from(id_token.split('.')[1], 'base64url'));
      return [acr, ...amr];
    };

    await open('/account');
    await fits('account-nobody');
    await open('/app/');
    await fits('sign-in');
    await password('looking-glass');
    await problem.filter({ hasText: 'Wrong name or password.' }).waitFor();
    await fits('sign-in-wrong');
    await password('wonderland');
    assert.deepEqual(await signedIn(), ['urn:example:acr:basic', 'pwd']);

    await open('/account');
    await fits('account-none');
    await button('Add a passkey').click();
    await page.getByText('A passkey on one device').waitFor();
    assert.equal((await device.keys()).length, 1);
    await fits('account-one');

    // Signed in, and then more is asked: only the passkey is missing.
    await open(ESSENTIAL);
    await fits('step-up');
    await device.verifies(false);
    await button('Use your passkey').click();
    await problem.filter({ hasText: 'No passkey was used.' }).waitFor();
    await fits('step-up-failed');
    await device.verifies(true);
    await button('Use your passkey').click();
    assert.deepEqual(await signedIn(), ['phr', 'mfa', 'pop', 'pwd', 'user']);

    // Alone, without a name.
    await open('/app/?prompt=login');
    await button('Sign in with a passkey').click();
    assert.deepEqual(await signedIn(), ['phr', 'mfa', 'pop', 'user']);
    await open('/account');
    await page.getByText('A passkey on one device').waitFor();
    await button('Add a passkey').click();
    await problem.filter({ hasText: 'No passkey was used.' }).waitFor(); // this device has one

    // After the password.
    await open('/app/?prompt=login&acr_values=phr');
    await password('wonderland');
    await button('Use your passkey').click();
    assert.deepEqual(await signedIn(), ['phr', 'mfa', 'pop', 'pwd', 'user']);

    await open('/app/?prompt=login&acr_values=phr');
    await button('Cancel').click();
    await page.getByText('access_denied').waitFor();
    assert.deepEqual(complaints, [], 'the browser complained');
  });
}

it('a device without a passkey', async (t) => {
  const { origin, context, page, complaints } = await visit(t, 'desktop');
  await authenticator(context, page);
  await page.goto(`${origin}/app/`);
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  await page.locator('#problem').filter({ hasText: 'No passkey was used.' }).waitFor();
  assert.deepEqual(complaints, []);
});
