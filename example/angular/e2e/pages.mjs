// Everything the tests know about the look of the two sites, in one place.

/** The application, by its data-testid attributes. */
export class AppPage {
  constructor(page, origin) {
    this.page = page;
    this.origin = origin;
  }

  part(name) {
    return this.page.getByTestId(name);
  }

  open() {
    return this.page.goto(this.origin);
  }

  /** Waits until the page says signed-in or signed-out. */
  async reaches(state) {
    await this.page.waitForURL((url) => url.origin === this.origin);
    await this.page.locator(`[data-testid=status][data-state=${state}]`).waitFor();
  }

  async renewals() {
    return Number(await this.part('renewals').textContent());
  }

  async renewsTo(count) {
    await this.part('renewals').getByText(String(count), { exact: true }).waitFor();
  }

  async claim(part, name) {
    return (await this.part(part).locator(`[data-claim="${name}"]`).textContent()).trim();
  }

  /** What the library keeps for this tab: the last token response. */
  tokenResponse() {
    return this.page.evaluate(() => {
      const kept = Object.values(sessionStorage).map((value) => JSON.parse(value));
      return kept.find((entry) => entry?.authnResult)?.authnResult ?? null;
    });
  }
}

/** The provider's own pages. */
export class ProviderPage {
  constructor(page, issuer) {
    this.page = page;
    this.issuer = issuer;
    this.username = page.locator('input[name=username]');
    this.password = page.locator('input[name=password]');
    this.submitLogin = page.locator('#submit-login');
    this.submitConsent = page.locator('#submit-consent');
    this.cancel = page.locator('#cancel');
    this.submitLogout = page.locator('#submit-logout');
    this.problem = page.locator('#problem');
    this.wayBack = page.locator('#return');
    this.revoke = page.locator('button[id^=revoke-]');
  }

  async signIn({ username, password }) {
    await this.username.fill(username);
    await this.password.fill(password);
    await this.submitLogin.click();
  }

  openAccount() {
    return this.page.goto(`${this.issuer}/account`);
  }

  /** Withdraws the access of every connected application. */
  async revokeAll() {
    for (let left = await this.revoke.count(); left > 0; left--) {
      await this.revoke.first().click();
      await this.revoke.nth(left - 1).waitFor({ state: 'detached' });
    }
  }

  language() {
    return this.page.locator('html').getAttribute('lang');
  }
}
