// Proves the kit: both providers, the browser and its authenticator do what the tests of llmos will rely on.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import {
  addAuthenticator, launchBrowser, signInAtGlewlwyd, signInAtProvider, signOutAtGlewlwyd, signOutAtProvider,
} from './browser.mjs';
import { makeCertificates } from './certificates.mjs';
import { startGlewlwyd } from './glewlwyd.mjs';
import { ask } from './http.mjs';
import { readToken, verifyToken } from './jwt.mjs';
import { startParty } from './party.mjs';
import { ACR_VALUES, startProvider } from './provider.mjs';

const TEST_MS_MAX = 30_000;
const limit = { timeout: TEST_MS_MAX };

const ada = { name: 'ada', password: 'ada-password', groups: ['staff', 'admins'], email: 'ada@example.org' };
const client = { id: 'party', secret: 'party-secret-party-secret-party-secret' };
const service = { id: 'service', secret: 'service-secret' };

/** What to stop in the end, the last started first. */
const started = [];
let certificates;
let ca;
let browser;
let party;
let provider;
let glewlwyd;

before(async () => {
  const keep = async (starting, stop) => {
    const thing = await starting;
    started.unshift(() => stop(thing));
    return thing;
  };
  certificates = await keep(makeCertificates(), (it) => it.remove());
  ca = await readFile(certificates.ca, 'utf8');
  party = await keep(startParty(), (it) => it.stop());
  const known = {
    ...client,
    redirectUris: [party.redirectUri],
    postLogoutUris: [party.signedOutUri],
    backchannelLogoutUri: party.backchannelLogoutUri,
  };
  // All of them are waited for, so that what has started is stopped also when another did not start.
  const starts = await Promise.allSettled([
    keep(launchBrowser({ certificates }), (it) => it.close()),
    keep(startProvider({ certificates, accounts: [ada], clients: [known, service] }), (it) => it.stop()),
    keep(startGlewlwyd({ certificates, accounts: [ada], clients: [known] }), (it) => it.stop()),
  ]);
  for (const { status, reason } of starts) if (status === 'rejected') throw reason;
  [browser, provider, glewlwyd] = starts.map(({ value }) => value);
  await party.know({ issuer: provider.issuer, ...client, ca, scope: 'openid profile email groups' });
  await party.know({ issuer: glewlwyd.issuer, ...client, ca, scope: 'openid profile email' });
}, limit);

after(async () => {
  for (const stop of started) await stop();
}, limit);

async function login(issuer, signIn, more = '') {
  const page = await browser.newPage();
  await page.goto(`${party.url}/login?issuer=${encodeURIComponent(issuer)}${more}`);
  await signIn(page);
  await page.waitForSelector('#text');
  return { page, text: await page.innerText('#text'), login: party.logins.at(-1) };
}

test('a person logs in at oidc-provider', limit, async () => {
  const { page, text, login: { claims, query } } = await login(provider.issuer,
    (at) => signInAtProvider(at, ada.name, ada.password), `&acr_values=${ACR_VALUES[1]}`);
  assert.equal(text, 'signed in as ada');
  assert.deepEqual(claims.groups, ada.groups);
  assert.equal(claims.email, ada.email);
  assert.equal(claims.acr, ACR_VALUES[1]);
  assert.equal(query.iss, provider.issuer);
  assert.ok(provider.requests.some(({ method, path }) => method === 'POST' && path === '/token'));

  // Once signed in, nobody is asked again.
  await page.goto(`${party.url}/login?issuer=${encodeURIComponent(provider.issuer)}`);
  assert.equal(await page.innerText('#text'), 'signed in as ada');
});

test('a wrong password and a no are told', limit, async () => {
  await assert.rejects(login(provider.issuer, (at) => signInAtProvider(at, ada.name, 'wrong')), /is wrong/);
  const { text } = await login(provider.issuer,
    (at) => signInAtProvider(at, ada.name, ada.password, { allow: false }));
  assert.equal(text, 'failed: access_denied');
});

test('a person logs in at glewlwyd', limit, async () => {
  const { text, login: { header, claims, tokens, query } } = await login(glewlwyd.issuer,
    (at) => signInAtGlewlwyd(at, ada.name, ada.password));
  assert.equal(text, `signed in as ${claims.sub}`);
  assert.equal(header.alg, 'ES256');
  assert.deepEqual(claims.groups, ada.groups);
  assert.equal(query.iss, glewlwyd.issuer);
  assert.deepEqual(tokens.scope.split(' ').sort(), ['email', 'openid', 'profile']);
  if (process.env.LLMOS_TEST_SHOW) console.log(JSON.stringify(party.logins, null, 1));
  await assert.rejects(login(glewlwyd.issuer, (at) => signInAtGlewlwyd(at, ada.name, 'wrong')), /Authentication error/);
});

test('an authenticator makes and uses a passkey', limit, async () => {
  const page = await browser.newPage();
  const authenticator = await addAuthenticator(page);
  await page.goto(party.url);
  const made = await page.evaluate(async () => {
    const { response, id } = await navigator.credentials.create({ publicKey: {
      rp: { id: 'localhost', name: 'llmos' },
      user: { id: new Uint8Array([1, 2, 3]), name: 'ada', displayName: 'Ada' },
      challenge: new Uint8Array(32),
      pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
      authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
    } });
    return { id, key: [...new Uint8Array(response.getPublicKey())] };
  });
  assert.equal((await authenticator.credentials()).length, 1);
  const used = await page.evaluate(async () => {
    const { response, id } = await navigator.credentials.get({ publicKey: {
      rpId: 'localhost', challenge: new Uint8Array(32), userVerification: 'required',
    } });
    const bytes = (buffer) => [...new Uint8Array(buffer)];
    return { id, data: bytes(response.authenticatorData), client: bytes(response.clientDataJSON),
      signature: bytes(response.signature), user: bytes(response.userHandle) };
  });
  assert.equal(used.id, made.id);
  assert.deepEqual(used.user, [1, 2, 3]);
  const key = createPublicKey({ key: Buffer.from(made.key), format: 'der', type: 'spki' });
  const hash = createHash('sha256').update(Buffer.from(used.client)).digest();
  assert.ok(verify('sha256', Buffer.concat([Buffer.from(used.data), hash]), key, Buffer.from(used.signature)));
  await authenticator.remove();
});

test('a logout at the provider arrives at the relying party', limit, async () => {
  const signIn = (at) => signInAtProvider(at, ada.name, ada.password);
  const { login: { claims } } = await login(provider.issuer, signIn);
  const told = await provider.logoutEverywhere(ada.name);
  assert.ok(told.some(({ sid, error }) => sid === claims.sid && error === undefined));
  const token = party.logouts.find((logout) => logout.claims.sid === claims.sid);
  assert.equal(token.header.typ, 'logout+jwt');
  assert.equal(token.claims.sub, 'ada');
  assert.ok(token.claims.events['http://schemas.openid.net/event/backchannel-logout']);
  assert.deepEqual(await provider.logoutEverywhere(ada.name), []);

  // The same for a logout that the person begins at the relying party.
  const second = await login(provider.issuer, signIn);
  await logoutFrom(provider.issuer, second, signOutAtProvider);
});

test('a logout at glewlwyd arrives at the relying party', limit, async () => {
  const again = await login(glewlwyd.issuer, (at) => signInAtGlewlwyd(at, ada.name, ada.password));
  await logoutFrom(glewlwyd.issuer, again, signOutAtGlewlwyd);
});

/** RP-initiated logout: the browser comes back, and the logout token of this session is there. */
async function logoutFrom(issuer, { page, login: { claims, tokens } }, signOut) {
  const { end_session_endpoint: end } = party.discovery(issuer);
  await page.goto(`${end}?${new URLSearchParams({
    id_token_hint: tokens.id_token, post_logout_redirect_uri: party.signedOutUri, state: 'there' })}`);
  await signOut(page);
  await page.waitForURL(`${party.signedOutUri}?state=there`);
  assert.ok(party.logouts.some((logout) => logout.claims.sid === claims.sid && logout.claims.iss === issuer));
}

test('access tokens are of RFC 9068 and verify, before and after a change of keys', limit, async () => {
  const jwks = async () => (await ask(`${provider.issuer}/jwks`, { ca })).json();
  const audience = 'https://llmos.example';
  const account = await provider.accessToken({ account: ada.name, audience, scope: 'read groups' });
  const { header, claims } = verifyToken(account, await jwks());
  assert.equal(header.typ, 'at+jwt');
  assert.deepEqual([claims.aud, claims.sub, claims.client_id, claims.scope, claims.iss],
    [audience, 'ada', client.id, 'read groups', provider.issuer]);
  assert.deepEqual(claims.groups, ada.groups);

  const ofService = await provider.accessToken({ client: service.id, audience, scope: 'read', algorithm: 'ES256' });
  assert.equal(verifyToken(ofService, await jwks()).claims.sub, service.id);
  const asked = await ask(`${provider.issuer}/token`, {
    ca,
    headers: { authorization: `Basic ${Buffer.from(`${service.id}:${service.secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: audience, scope: 'read' }),
  });
  assert.equal(verifyToken(asked.json().access_token, await jwks()).claims.aud, audience);

  provider.rotateKeys({ keepOld: true });
  assert.equal(verifyToken(account, await jwks()).claims.sub, 'ada');
  provider.rotateKeys();
  assert.throws(() => verifyToken(account, provider.jwks()), /no key/);
});

test('forged tokens are as they are asked for', limit, async () => {
  const claims = { iss: provider.issuer, sub: 'ada' };
  const jwks = provider.jwks();
  assert.deepEqual(verifyToken(provider.mint(claims, { typ: 'at+jwt' }, 'ES256'), jwks).claims, claims);
  assert.deepEqual(readToken(provider.mint(claims, {}, 'none')).header, { alg: 'none' });
  assert.throws(() => verifyToken(provider.mint(claims, { kid: 'another' }), jwks), /no key/);
  assert.equal(readToken(provider.mint(claims, {}, 'a shared secret')).header.alg, 'HS256');

  provider.changeIdToken(({ claims: honest }) => provider.mint({ ...honest, nonce: 'another' }));
  const { text } = await login(provider.issuer, (at) => signInAtProvider(at, ada.name, ada.password));
  provider.changeIdToken();
  assert.equal(text, 'failed: the nonce is another');
});
