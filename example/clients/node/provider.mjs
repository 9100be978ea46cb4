// The provider under test, and the person at a browser, as plain HTTP.
import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPair, exportJWK } from 'jose'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const secret = 'q+7Rk/Zd93+LmX0v/Bw8sT2yNfA5eGhu1PcJ4oEiKQ=='
export const percentSecret = 'p+l/u=s%41&per%zz~cent'
export const callback = 'https://rp.example/callback'

// start serves ../provider.yaml on a free port until stop is called. change is
// applied to the text of the configuration.
export async function start(change = (text) => text) {
  const dir = mkdtempSync(join(tmpdir(), 'clients-'))
  let program = process.env.QUICKSTART
  if (!program) {
    program = join(dir, 'quickstart')
    execFileSync('go', ['build', '-o', program, './quickstart'], { cwd: join(import.meta.dirname, '../..'), stdio: 'inherit' })
  }
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256', use: 'sig' }] }
  const text = readFileSync(join(import.meta.dirname, '../provider.yaml'), 'utf8').replaceAll('$JWKS', () => JSON.stringify(jwks))
  writeFileSync(join(dir, 'provider.yaml'), change(text))
  const issuer = `http://127.0.0.1:${await freePort()}`
  const child = spawn(program, ['-config', join(dir, 'provider.yaml'), '-issuer', issuer], { stdio: ['ignore', 'inherit', 'inherit'] })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  for (let up = false; !up;) {
    if (child.exitCode !== null) throw new Error(`quickstart ended with ${child.exitCode}`)
    up = await fetch(`${issuer}/readyz`).then((r) => r.ok, () => new Promise((r) => setTimeout(r, 20, false)))
  }
  return {
    issuer, privateKey, browser: () => new Browser(issuer),
    async stop() {
      child.kill()
      await ended
      rmSync(dir, { recursive: true })
    },
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const s = createServer()
    s.once('error', reject)
    s.listen(0, '127.0.0.1', () => {
      const { port } = s.address()
      s.close(() => resolve(port))
    })
  })
}

const entities = { amp: '&', lt: '<', gt: '>', quot: '"', '#34': '"', '#39': "'", '#43': '+' }
const plain = (s) => s.replace(/&(#?\w+);/g, (all, name) => entities[name] ?? all)

// Browser keeps cookies and follows redirects within the provider.
class Browser {
  cookies = new Map()

  constructor(issuer) {
    this.issuer = issuer
  }

  async open(url, init = {}) {
    for (;;) {
      const headers = { ...init.headers, cookie: [...this.cookies].map(([k, v]) => `${k}=${v}`).join('; ') }
      const res = await fetch(url, { ...init, headers, redirect: 'manual' })
      for (const c of res.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(c)
        if (/;\s*max-age=(0|-)/i.test(c)) this.cookies.delete(name)
        else this.cookies.set(name, value)
      }
      const to = res.headers.get('location')
      if (!to) return { url, status: res.status, body: await res.text() }
      await res.body?.cancel()
      const next = new URL(to, url)
      if (next.origin !== this.issuer) return { url, status: res.status, location: next }
      url = next
      init = {}
    }
  }

  // press fills in the form that has the button.
  async press(page, button, fields = {}) {
    for (const [, action, inside] of (page.body ?? '').matchAll(/<form method="post" action="([^"]*)">(.*?)<\/form>/gs)) {
      if (!inside.includes(`value="${button}"`)) continue
      const form = new URLSearchParams({ do: button })
      for (const [, text] of inside.matchAll(/<input ([^>]*)\/>/g)) {
        const a = Object.fromEntries([...text.matchAll(/([a-z-]+)="([^"]*)"/g)].map(([, k, v]) => [k, plain(v)]))
        if (a.name && (a.type !== 'checkbox' || 'checked' in a)) form.append(a.name, a.value ?? '')
      }
      for (const [k, v] of Object.entries(fields)) form.set(k, v)
      return this.open(new URL(plain(action), page.url), {
        method: 'POST', body: form, headers: { origin: this.issuer, 'sec-fetch-site': 'same-origin' },
      })
    }
    throw new Error(`no button ${button} at ${page.url}: ${page.status} ${page.location ?? page.body}`)
  }

  // signIn goes through login and consent, and returns where the browser is sent.
  async signIn(url) {
    let page = await this.open(url)
    if (page.body?.includes('value="login"')) page = await this.press(page, 'login', { username: 'alice', password: 'wonderland' })
    if (page.body?.includes('value="allow"')) page = await this.press(page, 'allow')
    if (!page.location) throw new Error(`the browser stays at ${page.url}: ${page.status} ${page.body}`)
    return page.location
  }

  // connect enters the code that a device shows.
  async connect(uri) {
    let page = await this.press(await this.open(uri), 'code')
    if (page.body?.includes('value="login"')) page = await this.press(page, 'login', { username: 'alice', password: 'wonderland' })
    return this.press(page, 'allow')
  }
}
