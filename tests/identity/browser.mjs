// Debian's chromium, driven by playwright-core, as a person would use it.
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { chromium } from './modules.mjs';
import { temporaryFolder } from './temporary.mjs';

const PROGRAM = '/usr/bin/chromium';
const LAUNCH_MS_MAX = 20_000;
const STEP_MS_MAX = 10_000;
const PAGES_OF_LOGIN_MAX = 4;

const SWITCHES = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // Nothing but this machine: neither a proxy nor a name from outside.
  '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
];

/**
 * Launches the browser, headless. It trusts the servers whose `certificates` (of `makeCertificates`) it is given, by
 * their public key, and checks any other certificate as always.
 * Returns `{ newPage(), close() }`; each page has its own cookies, as if in its own browser.
 */
export async function launchBrowser({ certificates = [] } = {}) {
  const trusted = await Promise.all([certificates].flat().map(async ({ certificate }) => {
    const { publicKey } = new X509Certificate(await readFile(certificate));
    return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
  }));
  // The browser leaves files in its temporary folder, so it gets one that we delete.
  const { folder, remove } = await temporaryFolder('browser');
  let browser;
  try {
    browser = await chromium.launch({
      executablePath: PROGRAM,
      headless: true,
      timeout: LAUNCH_MS_MAX,
      args: [...SWITCHES, ...(trusted.length ? [`--ignore-certificate-errors-spki-list=${trusted.join(',')}`] : [])],
      env: { ...process.env, TMPDIR: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder },
    });
  } catch (error) {
    remove();
    throw error;
  }
  return {
    async newPage() {
      // The language is fixed: glewlwyd's buttons are found by their words.
      const context = await browser.newContext({ locale: 'en-US' });
      context.setDefaultTimeout(STEP_MS_MAX);
      context.setDefaultNavigationTimeout(STEP_MS_MAX);
      return context.newPage();
    },
    async close() {
      await browser.close();
      remove();
    },
  };
}

/**
 * Plugs a virtual passkey authenticator into the page: CTAP2, built in, with user verification, touched at once.
 * Returns `{ credentials(), setVerified(boolean), remove() }`; an authenticator that is not verified stands for a
 * person whose finger is not known.
 */
export async function addAuthenticator(page) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('WebAuthn.enable', { enableUI: false });
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: true, automaticPresenceSimulation: true,
    },
  });
  return {
    credentials: async () => (await devtools.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    setVerified: (isUserVerified) => devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }),
    async remove() {
      await devtools.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId });
      await devtools.detach();
    },
  };
}

/** Waits for the first of `places`, `{ NAME: selector }`, and returns its name; 'left' if the page left `origin`. */
function firstOf(page, origin, places) {
  const waits = Object.entries(places).map(([name, selector]) =>
    page.locator(selector).first().waitFor({ timeout: STEP_MS_MAX }).then(() => name));
  const left = page.waitForURL((url) => url.origin !== origin, { timeout: STEP_MS_MAX, waitUntil: 'commit' })
    .then(() => 'left');
  return Promise.any([left, ...waits]).catch(() => {
    throw new Error(`nothing that was expected came at ${page.url()}: ${Object.keys(places).join(', ')}, left`);
  });
}

/**
 * Signs in at the pages of provider.mjs, where `page` is, and consents if asked. Comes back when the browser is on
 * its way to the relying party; throws what the page says when the password is wrong. `allow: false` denies.
 */
export async function signInAtProvider(page, name, password, { allow = true } = {}) {
  const { origin } = new URL(page.url());
  let signedIn = false;
  for (let pages = 0; pages < PAGES_OF_LOGIN_MAX; pages += 1) {
    const forms = signedIn ? { message: '#message', consent: '#consent' } : { signIn: '#sign-in', consent: '#consent' };
    const found = await firstOf(page, origin, { ...forms, error: '#error' });
    if (found === 'left') return;
    if (found === 'message' || found === 'error') throw new Error(await page.locator('body').innerText());
    if (found === 'signIn') {
      await page.fill('#name', name);
      await page.fill('#password', password);
      await page.click('#submit');
      signedIn = true;
    } else {
      await page.click(allow ? '#allow' : '#deny');
      await page.waitForURL((url) => url.origin !== origin, { waitUntil: 'commit' });
      return;
    }
  }
  throw new Error(`the login did not end after ${PAGES_OF_LOGIN_MAX} pages`);
}

/** Answers yes to the provider's question of RP-initiated logout. */
export async function signOutAtProvider(page) {
  await page.click('#sign-out');
}

/** Checks the box of each scope that is asked for; openid has none that could be changed. */
async function grantAllAtGlewlwyd(page) {
  const scopes = new URL(page.url()).searchParams.get('scope').split(' ').filter((scope) => scope !== 'openid');
  // The heading is there before the boxes are; each is waited for.
  for (const scope of scopes) await page.locator(`[id="grant-${scope}"]`).check();
  const sent = page.waitForRequest((request) => request.method() === 'PUT' && request.url().includes('/auth/grant/'));
  await page.getByRole('button', { name: 'Grant access' }).click();
  // The page draws itself anew with every answer of its server. Should it forget a box, say so, not a scope too few.
  const granted = (await sent).postDataJSON().scope.split(' ');
  const missing = scopes.filter((scope) => !granted.includes(scope));
  if (missing.length) throw new Error(`glewlwyd's page did not grant ${missing.join(' ')}`);
}

/**
 * Signs in at glewlwyd's page, where `page` is, grants all scopes if asked and goes on. Comes back when the browser is
 * on its way to the relying party; throws what the page says when the password is wrong.
 */
export async function signInAtGlewlwyd(page, name, password) {
  const { origin } = new URL(page.url());
  const steps = { signIn: '#passwordForm', grant: 'text=Client access grant', go: 'text=What do you wish for?' };
  for (let pages = 0; pages < PAGES_OF_LOGIN_MAX; pages += 1) {
    let found = await firstOf(page, origin, { ...steps, message: '.toast-body' });
    if (found === 'go' && steps.grant) {
      // The page offers to go on before it knows what is granted, and who goes on then has granted openid alone. What
      // it asks its server last is which schemes there are.
      await page.waitForFunction(() => performance.getEntriesByType('resource')
        .some(({ name }) => name.includes('/api/auth/scheme/')));
      if (await page.locator(steps.grant).isVisible()) found = 'grant';
    }
    if (found === 'left') return;
    if (found === 'message') throw new Error(await page.locator('.toast-body').first().innerText());
    // Each step comes once; without it, its page may still be there for a moment and would be found again.
    delete steps[found];
    if (found === 'signIn') {
      await page.fill('#username', name);
      await page.fill('#password', password);
      await page.click('#loginbut');
    } else if (found === 'grant') {
      await grantAllAtGlewlwyd(page);
    } else {
      await page.getByTitle('Continue to client application').click();
      await page.waitForURL((url) => url.origin !== origin, { waitUntil: 'commit' });
      return;
    }
  }
  throw new Error(`the login did not end after ${PAGES_OF_LOGIN_MAX} pages`);
}

/** Answers yes to glewlwyd's question of RP-initiated logout. */
export async function signOutAtGlewlwyd(page) {
  // The client's name comes with the list of what the logout ends; a click before that breaks the page.
  await page.getByText(/The client \S+ wishes you to close/).waitFor();
  await page.locator('.card-body').getByRole('button', { name: 'Logout' }).first().click();
}
