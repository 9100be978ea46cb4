import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { picture, startStage } from './harness.mjs';

const TOKEN_REFUSED = [/console: Failed to load resource.* 400 .*\/token/, /console: \[ERROR\].*code request/];

// One setting alone when the application is somebody else's.
const settings = process.env.IDPKIT_E2E_APP ? [undefined] : [false, true];

for (const ignoreNonceAfterRefresh of settings) {
  describe(`the Angular application, ignoreNonceAfterRefresh ${ignoreNonceAfterRefresh ?? 'as configured there'}`, () => {
    let stage;
    before(async () => (stage = await startStage({ ignoreNonceAfterRefresh })));
    after(() => stage?.close());

    /** Runs a test at a fresh browser and asks it for complaints at the end. */
    const atBrowser = (options, test) => async (t) => {
      const browser = await stage.visit(options);
      let expected;
      try {
        expected = await test(browser);
      } catch (error) {
        (await browser.abandon()).forEach((complaint) => t.diagnostic(complaint));
        throw error;
      }
      await browser.finish(expected);
    };

    /** From nothing to signed in, with password and consent. */
    const signIn = async ({ app, provider, user }) => {
      await app.open();
      await app.part('sign-in').click();
      await provider.signIn(user);
      await provider.submitConsent.click();
      await app.reaches('signed-in');
    };

    it('signs in with a pushed request and consent', atBrowser({}, async ({ page, app, provider, user }) => {
      await app.open();
      await app.reaches('signed-out');
      const pushed = page.waitForRequest((request) => request.method() === 'POST' && request.postData()?.includes('code_challenge='));
      const authorized = page.waitForRequest((request) => request.isNavigationRequest() && request.url().includes('request_uri='));
      await app.part('sign-in').click();

      const push = new URLSearchParams((await pushed).postData());
      assert.equal(push.get('code_challenge_method'), 'S256');
      assert.equal(push.get('prompt'), 'consent');
      assert.equal(JSON.parse(push.get('authorization_details'))[0].type, 'account_access');
      const asked = new URL((await authorized).url()).searchParams;
      assert.deepEqual([...asked.keys()].sort(), ['client_id', 'request_uri'], 'the browser carries only the reference');

      await provider.signIn(user);
      await provider.submitConsent.click();
      await app.reaches('signed-in');

      assert.equal(page.url(), `${stage.origin}/`, 'the code is out of the address bar');
      assert.equal(await app.claim('id-token', 'iss'), stage.issuer);
      assert.equal(await app.claim('id-token', 'aud'), 'client-par-required');
      assert.equal(await app.claim('userinfo', 'sub'), await app.claim('id-token', 'sub'));
      assert.ok(await app.claim('userinfo', 'name'), 'profile gives a name');
      const granted = await app.part('scope-granted').locator('li').allTextContents();
      assert.deepEqual(granted.map((scope) => scope.trim()).sort(), ['offline_access', 'openid', 'profile']);
      const details = JSON.parse(await app.part('details-granted').textContent());
      assert.equal(details.length, 1);
      assert.equal(details[0].type, 'account_access');
      assert.deepEqual(details[0].actions, ['read_balances', 'read_transactions']);
    }));

    it('says so when the password is wrong, and lets in with the right one', atBrowser({}, async ({ app, provider, user }) => {
      await app.open();
      await app.part('sign-in').click();
      await provider.signIn({ ...user, password: 'not-this-one' });
      await provider.problem.waitFor();
      await provider.signIn(user);
      await provider.submitConsent.click();
      await app.reaches('signed-in');
    }));

    it('shows in plain words that the user declined', atBrowser({}, async ({ page, app, provider, user }) => {
      await app.open();
      await app.part('sign-in').click();
      await provider.signIn(user);
      await provider.cancel.click();
      await app.reaches('signed-out');
      assert.match(await app.part('notice').textContent(), /did not allow access/);
      assert.equal(page.url(), `${stage.origin}/`, 'the refusal is out of the address bar');
      assert.equal(await app.part('error').count(), 0);

      await app.part('sign-in').click();
      await provider.submitConsent.click();
      await app.reaches('signed-in');
    }));

    it('renews, and renews again after an answer was lost on the way', atBrowser({}, async ({ page, app, ...browser }) => {
      await signIn({ app, ...browser });
      const first = await app.tokenResponse();
      await app.part('renew').click();
      await app.renewsTo(1);
      const second = await app.tokenResponse();
      assert.notEqual(second.access_token, first.access_token);
      assert.notEqual(second.refresh_token, first.refresh_token, 'the refresh token rotates');

      // The provider rotates, the answer never arrives; the library asks again with the old token.
      const answers = [];
      await page.route((url) => url.origin === stage.issuer && url.pathname.endsWith('/token'), async (route) => {
        const response = await route.fetch();
        answers.push({ sent: new URLSearchParams(route.request().postData()).get('refresh_token'), ...(await response.json()) });
        await (answers.length === 1 ? route.abort() : route.fulfill({ response }));
      });
      await app.part('renew').click();
      await app.renewsTo(2);
      await page.unrouteAll();
      assert.equal(answers.length, 2);
      assert.equal(answers[0].sent, second.refresh_token);
      assert.equal(answers[1].sent, second.refresh_token);
      assert.equal(answers[1].refresh_token, answers[0].refresh_token, 'one successor, whoever asks');

      const third = await app.tokenResponse();
      assert.equal(third.refresh_token, answers[0].refresh_token);
      await app.part('renew').click();
      await app.renewsTo(3);
      assert.notEqual((await app.tokenResponse()).refresh_token, third.refresh_token, 'the chain goes on');
      assert.equal(await app.part('error').count(), 0);
      return [/console: Failed to load resource: net::ERR_FAILED .*\/token/];
    }));

    it('stays signed in across a reload, without asking the provider', atBrowser({}, async ({ page, app, provider, user }) => {
      await signIn({ app, provider, user });
      const before = await app.tokenResponse();
      await page.reload();
      await app.reaches('signed-in');
      assert.equal((await app.tokenResponse()).access_token, before.access_token);
    }));

    it('calls the API with the access token', atBrowser({}, async ({ page, app, provider, user }) => {
      await signIn({ app, provider, user });
      const called = page.waitForResponse((response) => response.url() === `${stage.issuer}/api/me` && response.request().method() === 'GET');
      await app.part('call-api').click();
      const response = await called;
      assert.equal(response.status(), 200);
      assert.match(response.request().headers().authorization, /^Bearer ./);
      assert.equal(await app.claim('api-answer', 'sub'), await app.claim('id-token', 'sub'));

      const anonymous = await page.request.get(`${stage.issuer}/api/me`);
      assert.equal(anonymous.status(), 401);
      assert.match(anonymous.headers()['www-authenticate'], /^Bearer/);
    }));

    it('is signed out at the next renewal once access was withdrawn', atBrowser({}, async ({ app, provider, user, ...browser }) => {
      await signIn({ app, provider, user });
      const account = await browser.anotherTab();
      await account.provider.openAccount();
      assert.notEqual(await account.provider.revoke.count(), 0, 'the application is listed');
      await account.provider.revokeAll();

      await app.part('renew').click();
      await app.reaches('signed-out');
      assert.match(await app.part('notice').textContent(), /no longer accepts this sign-in/);
      assert.equal(await app.tokenResponse(), null, 'no token is kept');
      return TOKEN_REFUSED;
    }));

    it('signs out here and at the provider, and the tokens are dead', atBrowser({}, async ({ page, app, provider, user }) => {
      await signIn({ app, provider, user });
      const { access_token: accessToken, refresh_token: refreshToken } = await app.tokenResponse();
      const ended = page.waitForRequest((request) => request.isNavigationRequest() && request.url().includes('id_token_hint='));
      await app.part('sign-out').click();
      const end = new URL((await ended).url());
      assert.equal(end.searchParams.get('post_logout_redirect_uri'), stage.origin);

      // A provider may ask first; with the hint of this very session it need not.
      await Promise.race([app.reaches('signed-out'), provider.submitLogout.click().then(() => app.reaches('signed-out'), () => {})]);
      assert.equal(await app.tokenResponse(), null);
      const api = await page.request.get(`${stage.issuer}/api/me`, { headers: { authorization: `Bearer ${accessToken}` } });
      assert.equal(api.status(), 401, 'the access token');
      const discovery = await (await page.request.get(`${stage.issuer}/.well-known/openid-configuration`)).json();
      const refresh = await page.request.post(discovery.token_endpoint, {
        form: { grant_type: 'refresh_token', client_id: 'client-par-required', refresh_token: refreshToken },
      });
      assert.equal(refresh.status(), 400, 'the refresh token');
      assert.equal((await refresh.json()).error, 'invalid_grant');

      await app.part('sign-in').click();
      await provider.password.waitFor();
    }));

    it('back after consent shows a page that explains, never a second code', atBrowser({}, async ({ page, app, provider, user }) => {
      await signIn({ app, provider, user });
      const token = await app.tokenResponse();
      const codes = [];
      page.on('request', (request) => request.isNavigationRequest() && request.url().includes('code=') && codes.push(request.url()));
      await page.goBack();
      await page.waitForURL((url) => url.origin === stage.issuer);
      await provider.wayBack.waitFor();
      await picture(page, 'desktop', 'back-after-consent');
      await provider.wayBack.click();
      await app.reaches('signed-in');
      assert.deepEqual(codes, []);
      assert.equal((await app.tokenResponse()).access_token, token.access_token, 'the sign-in of this tab is untouched');
      return [/console: Failed to load resource.* 4\d\d /];
    }));

    it('can sign in after going back from the login page', atBrowser({}, async ({ page, app, provider, user }) => {
      await app.open();
      await app.part('sign-in').click();
      await provider.username.waitFor();
      await page.goBack();
      await app.reaches('signed-out');
      await app.part('sign-in').click();
      await provider.signIn(user);
      await provider.submitConsent.click();
      await app.reaches('signed-in');
    }));

    it('a second tab signs in without the password, and each tab has its own tokens', atBrowser({}, async ({ app, provider, user, ...browser }) => {
      await signIn({ app, provider, user });
      const second = await browser.anotherTab();
      await second.app.open();
      await second.app.reaches('signed-out');
      await second.app.part('sign-in').click();
      await second.provider.submitConsent.click();
      await second.app.reaches('signed-in');
      const [one, two] = [await app.tokenResponse(), await second.app.tokenResponse()];
      assert.notEqual(one.refresh_token, two.refresh_token);

      await app.part('renew').click();
      await app.renewsTo(1);
      await second.app.part('renew').click();
      await second.app.renewsTo(1);
    }));

    it('two tabs with the same sign-in may renew at once', atBrowser({}, async ({ page, app, provider, user, context, adopt }) => {
      await signIn({ app, provider, user });
      // A tab that a page opens begins with a copy of its session storage.
      const opened = context.waitForEvent('page');
      await page.evaluate(() => void window.open('/'));
      const twin = adopt(await opened);
      await twin.app.reaches('signed-in');
      assert.equal((await twin.app.tokenResponse()).refresh_token, (await app.tokenResponse()).refresh_token);

      await Promise.all([app.part('renew').click(), twin.app.part('renew').click()]);
      await Promise.all([app.renewsTo(1), twin.app.renewsTo(1)]);
      assert.equal((await twin.app.tokenResponse()).refresh_token, (await app.tokenResponse()).refresh_token, 'one successor');
      await app.part('call-api').click();
      await app.part('api-answer').waitFor();
    }));

    it('two sign-ins begun in two tabs both finish', atBrowser({}, async ({ app, provider, user, anotherTab }) => {
      const second = await anotherTab();
      for (const tab of [{ app, provider }, second]) {
        await tab.app.open();
        await tab.app.part('sign-in').click();
        await tab.provider.username.waitFor();
      }
      await provider.signIn(user);
      await provider.submitConsent.click();
      await app.reaches('signed-in');
      await second.provider.signIn(user);
      await second.provider.submitConsent.click();
      await second.app.reaches('signed-in');
    }));

    it('the provider speaks German to a German browser', atBrowser({ locale: 'de-DE' }, async ({ page, app, provider, user }) => {
      await app.open();
      await app.part('sign-in').click();
      await provider.username.waitFor();
      assert.match(await provider.language(), /^de\b/);
      assert.equal((await provider.submitLogin.textContent()).trim(), 'Anmelden');
      await picture(page, 'desktop', 'login-german');
      await provider.signIn(user);
      await provider.submitConsent.waitFor();
      assert.match(await provider.language(), /^de\b/);
      assert.equal((await provider.submitConsent.textContent()).trim(), 'Erlauben');
      await picture(page, 'desktop', 'consent-german');
      await provider.submitConsent.click();
      await app.reaches('signed-in');
    }));

    for (const size of ['desktop', 'phone']) {
      it(`every page fits a ${size}`, atBrowser({ size }, async ({ page, app, provider, user, ...browser }) => {
        const fits = async (tab, name) => {
          await picture(tab, size, name);
          const [content, screen] = await tab.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
          assert.ok(content <= screen, `${name} is ${content} px wide on a screen of ${screen}`);
        };
        await app.open();
        await app.reaches('signed-out');
        await fits(page, 'app-signed-out');

        await app.part('sign-in').click();
        await provider.username.waitFor();
        await fits(page, 'login');
        await provider.signIn({ ...user, password: 'not-this-one' });
        await provider.problem.waitFor();
        await fits(page, 'login-wrong-password');
        await provider.signIn(user);
        await provider.submitConsent.waitFor();
        await fits(page, 'consent');
        await provider.cancel.click();
        await app.part('notice').waitFor();
        await fits(page, 'app-declined');

        await app.part('sign-in').click();
        await provider.submitConsent.click();
        await app.reaches('signed-in');
        await app.part('call-api').click();
        await app.part('api-answer').waitFor();
        await fits(page, 'app-signed-in');

        const account = await browser.anotherTab();
        await account.provider.openAccount();
        await account.provider.revoke.first().waitFor();
        await fits(account.page, 'account');
        await account.provider.revokeAll();
        await fits(account.page, 'account-revoked');

        await app.part('renew').click();
        await app.part('notice').waitFor();
        await fits(page, 'app-ended-by-provider');
        return TOKEN_REFUSED;
      }));
    }
  });
}
