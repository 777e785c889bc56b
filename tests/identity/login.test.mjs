// People, programs and devices sign in at llmos: in a real browser, at two independent providers, with passkeys and codes.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';

import { addAuthenticator, launchBrowser, signInAtGlewlwyd, signInAtProvider } from './browser.mjs';
import { makeCertificates } from './certificates.mjs';
import { startGlewlwyd } from './glewlwyd.mjs';
import { makeKey, publicHalf, signToken } from './jwt.mjs';
import { chooseAddress, startLlmos } from './llmos.mjs';
import { ACR_VALUES, startProvider } from './provider.mjs';

const limit = { timeout: 60_000 };
const REVOKED_MS_MAX = 5_000;

const ada = { name: 'ada', password: 'ada-password', groups: ['staff', 'doctors'], email: 'owner@default' };
const eve = { name: 'eve', password: 'eve-password', groups: ['owner', 'administrator'], email: 'ada@example.org' };
const client = { id: 'llmos', secret: 'llmos-secret-llmos-secret-llmos-secret' };
const AUDIENCE = 'https://llm.example.org';

const started = [];
let browser;
let provider;
let glewlwyd;
let llmos;

before(async () => {
  const keep = async (starting, stop) => {
    const thing = await starting;
    started.unshift(() => stop(thing));
    return thing;
  };
  const certificates = await keep(makeCertificates(), (it) => it.remove());
  const address = await chooseAddress();
  const known = (name) => ({
    ...client, redirectUris: [address.back(name)], postLogoutUris: [`${address.url}/auth`],
    backchannelLogoutUri: address.logout(name),
  });
  const accounts = [ada, eve];
  // The same provider twice: once it is asked for the second factor, once llmos asks itself.
  const strict = { ...known('strict'), id: 'strict' };
  const starts = await Promise.allSettled([
    keep(launchBrowser({ certificates }), (it) => it.close()),
    keep(startProvider({ certificates, accounts, clients: [known('corp'), strict, { id: 'job', secret: 'job-secret' }] }),
      (it) => it.stop()),
    keep(startGlewlwyd({ certificates, accounts: [ada], clients: [known('glewlwyd')] }), (it) => it.stop()),
    keep(startProvider({ certificates, accounts, clients: [known('factor')] }), (it) => it.stop()),
  ]);
  for (const { status, reason } of starts) if (status === 'rejected') throw reason;
  let factor;
  [browser, provider, glewlwyd, factor] = starts.map(({ value }) => value);
  factorProvider = factor;
  llmos = await keep(startLlmos({
    address,
    certificates,
    providers: [
      { name: 'corp', issuer: provider.issuer, client: client.id, secret: client.secret,
        more: `audience = '${AUDIENCE}'\nscopes = ['openid', 'groups']` },
      { name: 'glewlwyd', issuer: glewlwyd.issuer, client: client.id, secret: client.secret },
      { name: 'factor', issuer: factor.issuer, client: client.id, secret: client.secret,
        more: `acr = ['${ACR_VALUES[1]}']\nscopes = ['openid', 'groups']` },
    ],
    mapping: ['corp', 'glewlwyd', 'factor'].map((name) =>
      `[[role_mapping]]\nprovider = '${name}'\ngroup = 'doctors'\ntenant = 'clinic'\nrole = 'administrator'\n`
      + `data_class_max = 'restricted'\n`).join('')
      + `[[role_mapping]]\nprovider = 'corp'\ngroup = 'nurses'\ntenant = 'clinic'\nrole = 'member'\n`
      + `[[role_mapping]]\nprovider = 'corp'\nsubject = 'job'\ntenant = 'clinic'\nrole = 'member'\n`,
  }), (it) => it.stop());
}, limit);
let factorProvider;

after(async () => {
  for (const stop of started) await stop();
}, limit);

const heading = (page) => page.innerText('h1');

async function open(place = '/auth') {
  const page = await browser.newPage();
  await page.goto(`${llmos.url}${place}`);
  return page;
}

/** What the API says to a page's own request. */
const asks = (page, place = '/v1/models', options = {}) => page.evaluate(async ([at, how]) => {
  const answer = await fetch(at, how);
  const text = await answer.text();
  const code = text ? JSON.parse(text).error?.code : undefined;
  return code ? { status: answer.status, code } : { status: answer.status };
}, [place, options]);

async function atProvider(page, name, signIn, who = ada) {
  const leads = page.waitForEvent('framenavigated', (frame) => frame.url().endsWith(`/auth/login/${name}`));
  await page.click(`text=Sign in with ${name}`);
  await leads;
  // That page goes on by itself. Whoever is signed in at the provider comes back at once.
  await page.waitForURL((url) => !url.pathname.startsWith('/auth/login/'));
  if (new URL(page.url()).origin !== llmos.url) {
    await signIn(page, who.name, who.password);
    await page.waitForURL(`${llmos.url}/**`);
  }
}

async function addPasskey(page) {
  await page.click('text=Add a passkey');
  await page.waitForSelector('#codes');
  const codes = await page.locator('#codes code').allInnerTexts();
  await page.click('text=I have them');
  await page.waitForURL(`${llmos.url}/auth`);
  return codes;
}

/** A person who has signed in with a passkey: the page, the authenticator and the recovery codes. */
async function signedIn(name, signIn) {
  const page = await open();
  const authenticator = await addAuthenticator(page);
  await atProvider(page, name, signIn);
  const codes = await heading(page) === 'Add a second factor' ? await addPasskey(page) : [];
  return { page, authenticator, codes };
}

for (const [name, signIn] of [['corp', signInAtProvider], ['glewlwyd', signInAtGlewlwyd]]) {
  test(`a person signs in through ${name} with a passkey`, limit, async () => {
    const page = await open();
    await addAuthenticator(page);
    assert.equal(await heading(page), 'Sign in');
    assert.deepEqual(await asks(page), { status: 401, code: 'invalid_api_key' });
    await atProvider(page, name, signIn);

    // a25: half signed in is not signed in.
    assert.equal(await heading(page), 'Add a second factor');
    assert.deepEqual(await asks(page), { status: 403, code: 'mfa_required' });
    const codes = await addPasskey(page);
    assert.equal(new Set(codes).size, 10);
    assert.equal(await heading(page), 'You are signed in');
    assert.deepEqual(await asks(page), { status: 200 });
    // What cannot be undone is for those who are there, and now they are.
    assert.deepEqual(await asks(page, '/api/v1/policies/clinic'), { status: 200 });

    // a20: the cookie is for this host only, and for no script.
    const cookies = await page.context().cookies();
    const cookie = cookies.find((one) => one.name === '__Host-llmos');
    assert.deepEqual([cookie.secure, cookie.httpOnly, cookie.sameSite, cookie.path], [true, true, 'Lax', '/']);
    assert.ok(!(await page.evaluate(() => document.cookie)).includes('llmos'), 'no script reads it');
    assert.ok(!page.url().includes(cookie.value) && !llmos.log().includes(cookie.value));

    await page.click('text=Sign out >> nth=-1');
    assert.equal(await heading(page), 'You are signed out');
    assert.equal((await llmos.ask('/v1/models', { headers: { cookie: `__Host-llmos=${cookie.value}` } })).status, 401);

    // The second time, signed in anew at the provider too, the passkey is asked for, and nothing else will do.
    await page.context().clearCookies();
    await page.goto(`${llmos.url}/auth`);
    await atProvider(page, name, signIn);
    assert.equal(await heading(page), 'Prove that it is you');
    assert.deepEqual(await asks(page), { status: 403, code: 'mfa_required' });
    assert.deepEqual(await asks(page, '/auth/passkeys/challenges',
      { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"purpose":"add"}' }),
    { status: 403, code: 'step_up_required' });
    await page.click('text=Use a passkey');
    await page.waitForSelector('text=You are signed in');
    assert.deepEqual(await asks(page), { status: 200 });
  });
}

test('a18: who is signed out or sent away is away at once, with what is running', limit, async () => {
  const { page } = await signedIn('corp', signInAtProvider);
  if (await heading(page) === 'Prove that it is you') await recoverWithPasskey(page);
  const stream = () => page.evaluate(async () => {
    const answer = await fetch('/v1/chat/completions', {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'mock', stream: true, max_tokens: 8000,
        messages: [{ role: 'user', content: 'write for long' }] }),
    });
    const reader = answer.body.getReader();
    await reader.read();
    window.ended = (async () => { while (!(await reader.read()).done); return Date.now(); })();
    return answer.status;
  });
  assert.equal(await stream(), 200);
  const at = Date.now();
  const told = await provider.logoutEverywhere(ada.name);
  assert.ok(told.length > 0 && told.every(({ error }) => error === undefined), JSON.stringify(told));
  const ended = await page.evaluate(() => window.ended);
  assert.ok(ended - at < REVOKED_MS_MAX, `${ended - at} ms`);
  assert.deepEqual(await asks(page), { status: 401, code: 'invalid_api_key' });

  // The same when an administrator suspends the user.
  const again = await signedIn('corp', signInAtProvider);
  await recoverWithPasskey(again.page);
  assert.deepEqual(await asks(again.page), { status: 200 });
  const set = (verb) => llmos.run('users', verb, '--tenant', 'clinic', '--user', 'corp:ada', '--config', 'llmos.toml');
  assert.equal((await set('suspend')).code, 0);
  assert.deepEqual(await asks(again.page), { status: 401, code: 'invalid_api_key' });
  assert.equal((await set('resume')).code, 0);
  assert.deepEqual(await asks(again.page), { status: 401, code: 'invalid_api_key' }, 'the session does not come back');
});

/** A passkey is in the browser that made it; elsewhere somebody takes a token for a new start. */
async function recoverWithPasskey(page) {
  if (await heading(page) !== 'Prove that it is you') return;
  const forgotten = await llmos.run('users', 'forget-factors', '--tenant', 'clinic', '--user', 'corp:ada',
    '--reason', 'they are in this room', '--config', 'llmos.toml');
  assert.equal(forgotten.code, 0, forgotten.stderr);
  await page.goto(`${llmos.url}/auth`);
  await atProvider(page, 'corp', signInAtProvider);
  await addPasskey(page);
}

test('a13, a16, a21, a22: what a provider says is checked', limit, async () => {
  const forged = async (change, who = ada) => {
    provider.changeIdToken(change);
    const page = await open();
    await atProvider(page, 'corp', signInAtProvider, who);
    provider.changeIdToken();
    const cookies = await page.context().cookies();
    return { heading: await heading(page), isIn: cookies.some((one) => one.name === '__Host-llmos') };
  };
  const out = { heading: 'You are not signed in', isIn: false };
  const mint = (changes, header = {}, key) => ({ claims }) => provider.mint({ ...claims, ...changes }, header, key);
  for (const change of [
    mint({ nonce: 'another' }), mint({ aud: 'another' }), mint({ aud: [client.id, 'another'] }),
    mint({ iss: 'https://localhost' }), mint({ exp: 1 }), mint({}, {}, 'none'), mint({}, {}, client.secret),
    mint({ groups: Array(10_000).fill('doctors') }), mint({ groups: { doctors: true } }), mint({ groups: ['x'.repeat(300)] }),
    mint({ sub: 'x'.repeat(300) }), mint({ pad: 'x'.repeat(1_000_000) }),
  ]) assert.deepEqual(await forged(change), out);
  // Names of groups mean nothing by themselves, and an address of somebody else opens nothing.
  assert.deepEqual(await forged(undefined, eve), out);
  assert.deepEqual(await forged(mint({ sub: 'someone', email: ada.email, groups: ['clinic', 'admin'] })), out);

  // Every sign-in is begun with PKCE (S256), state and nonce of its own.
  const begun = await Promise.all([1, 2].map(() => llmos.ask('/auth/login/corp',
    { body: new URLSearchParams({ next: '/auth' }), headers: { origin: llmos.url } })));
  const queries = begun.map(({ headers }) => new URL(headers.refresh.slice('0; url='.length)).searchParams);
  for (const query of queries) assert.equal(query.get('code_challenge_method'), 'S256');
  for (const name of ['state', 'nonce', 'code_challenge']) assert.notEqual(queries[0].get(name), queries[1].get(name));

  // The answer counts in the browser that asked only, once, and from the provider that was asked.
  const state = queries[0].get('state');
  const cookie = begun[0].headers['set-cookie'][0].split(';')[0];
  const other = begun[1].headers['set-cookie'][0].split(';')[0];
  for (const [name, iss, browserCookie] of [
    ['corp', provider.issuer, other], ['corp', provider.issuer, ''], ['glewlwyd', glewlwyd.issuer, cookie],
    ['corp', provider.issuer, cookie],
  ]) {
    const query = new URLSearchParams({ state, code: 'code', iss });
    const answer = await llmos.ask(`/auth/callback/${name}?${query}`, { headers: { cookie: browserCookie } });
    assert.equal(answer.status, 401);
    assert.ok(!JSON.stringify(answer.headers['set-cookie'] ?? '').includes('__Host-llmos='));
  }
});

test('a link of another site signs nobody in', limit, async () => {
  const page = await open();
  await atProvider(page, 'corp', signInAtProvider);
  await page.click('text=Sign out >> nth=-1');
  const isIn = async () => (await page.context().cookies()).some(({ name }) => name === '__Host-llmos');
  assert.equal(await isIn(), false, 'at the provider they are still signed in');
  assert.equal((await page.goto(`${llmos.url}/auth/login/corp`)).status(), 405);
  // Any page elsewhere; this one is at the provider.
  await page.goto(`${provider.issuer}/.well-known/openid-configuration`);
  const [answer] = await Promise.all([
    page.waitForResponse((one) => one.url().startsWith(llmos.url)),
    page.evaluate((action) => {
      const form = document.createElement('form');
      Object.assign(form, { method: 'post', action });
      document.body.append(form);
      form.submit();
    }, `${llmos.url}/auth/login/corp`),
    // The page is there before the next one is asked for.
    page.waitForURL(`${llmos.url}/auth/login/corp`),
  ]);
  assert.equal(answer.status(), 403);
  for (const origin of [undefined, 'null', 'https://evil.test']) {
    const forged = await llmos.ask('/auth/login/corp', { body: new URLSearchParams({ next: '/auth' }), headers: origin ? { origin } : {} });
    assert.ok([401, 403].includes(forged.status) && !forged.headers['set-cookie'] && !forged.headers.refresh, origin);
  }
  assert.equal(await isIn(), false);
  // A click of their own does.
  await page.goto(`${llmos.url}/auth`);
  await atProvider(page, 'corp', signInAtProvider);
  assert.equal(await isIn(), true);
});

test('tokens of a provider stay in the server', limit, async () => {
  const tokens = [];
  provider.change('/token', ({ body }) => {
    tokens.push(...[body?.access_token, body?.id_token, body?.refresh_token].filter(Boolean));
  });
  const page = await open();
  const seen = [];
  page.context().on('request', (one) => seen.push(one.url(), one.postData(), one.allHeaders().then(JSON.stringify)));
  // What is redirected has no body.
  page.context().on('response', (one) => seen.push(one.allHeaders().then(JSON.stringify), one.text().catch(() => '')));
  await addAuthenticator(page);
  await atProvider(page, 'corp', signInAtProvider);
  provider.change('/token');
  await page.goto(`${llmos.url}/auth`);
  await asks(page, '/auth/session');
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  const cookies = await page.context().cookies();
  const all = [...await Promise.all(seen), kept, JSON.stringify(cookies), await page.content(), llmos.log()].join('\n');
  const session = cookies.find(({ name }) => name === '__Host-llmos').value;
  assert.ok(all.includes(`set-cookie":"__Host-llmos=${session}`), 'what came with answers is looked at');
  assert.ok(tokens.length >= 2, 'an identity token and an access token');
  for (const token of tokens) assert.ok(!all.includes(token));
});

test('a second factor at the provider is demanded, and counts as presence', limit, async () => {
  const page = await open();
  await atProvider(page, 'factor', signInAtProvider);
  await page.waitForSelector('text=You are signed in');
  assert.deepEqual(await asks(page, '/api/v1/policies/clinic'), { status: 200 });

  factorProvider.accounts.get('ada').acr = ACR_VALUES[0];
  const half = await open();
  await atProvider(half, 'factor', signInAtProvider);
  await half.waitForSelector('text=has not asked you for a second factor');
  assert.deepEqual(await asks(half), { status: 403, code: 'mfa_required' });
  // A factor of llmos does not stand in for that of the provider.
  assert.deepEqual(await asks(half, '/auth/passkeys/challenges',
    { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"purpose":"add"}' }),
  { status: 403, code: 'mfa_required' });
  delete factorProvider.accounts.get('ada').acr;
});

test('a06: access tokens of a provider are read, and lead nowhere', limit, async () => {
  const status = async (bearer) => (await llmos.ask('/v1/models', { bearer })).status;
  const good = await provider.accessToken({ account: 'ada', client: client.id, audience: AUDIENCE, scope: 'groups' });
  assert.equal(await status(good), 200);
  // A token proves no presence.
  const policies = await llmos.ask('/api/v1/policies/clinic', { bearer: good });
  assert.deepEqual([policies.status, policies.json().error.code], [403, 'step_up_required']);
  const job = await provider.accessToken({ client: 'job', audience: AUDIENCE, scope: 'read' });
  assert.equal(await status(job), 200);

  const requests = provider.requests.length;
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: provider.issuer, sub: 'ada', aud: AUDIENCE, iat: now, exp: now + 60, groups: ['doctors'], jti: 'x' };
  const mint = (changes, header, key) => provider.mint({ ...claims, ...changes }, { typ: 'at+jwt', ...header }, key);
  assert.equal(await status(mint({}, {})), 200);
  const own = makeKey('ES256');
  for (const token of [
    mint({}, { typ: 'JWT' }), mint({}, { typ: undefined }), mint({ aud: client.id }), mint({ exp: now - 100 }),
    mint({ iss: 'https://localhost:1' }), mint({}, {}, 'none'), mint({}, {}, client.secret),
    mint({}, { jku: `${provider.issuer}/evil` }), mint({}, { x5u: `${provider.issuer}/evil` }),
    mint({}, { kid: '../../dev/null' }), mint({}, { kid: "' OR 1=1 --" }), mint({}, { kid: 'k'.repeat(1_000) }),
    mint({ groups: Array(300).fill('doctors') }), mint({ groups: [] }), mint({ sub: undefined }),
    signToken(claims, { typ: 'at+jwt', jwk: publicHalf(own) }, own), 'a.b.c', '..',
  ]) assert.equal(await status(token), 401, token.slice(0, 200));
  // What is larger than a header may be is refused before it is read.
  for (const token of [mint({}, { kid: 'k'.repeat(30_000) }), mint({ groups: Array(10_000).fill('doctors') })]) {
    assert.equal(await status(token), 431);
  }
  assert.equal(provider.requests.length, requests, 'no token has led to a request');

  // What the provider said before does not undo what it says now: an older token gives what its user may now.
  const role = async () => JSON.parse((await llmos.run('users', 'list', '--json', '--config', 'llmos.toml')).stdout)
    .users.find(({ user }) => user === 'corp:ada').role;
  assert.equal(await role(), 'administrator');
  assert.equal(await status(mint({ groups: ['nurses'], iat: now + 30 }, {})), 200);
  assert.equal(await role(), 'member');
  assert.equal(await status(mint({ iat: now - 30 }, {})), 200);
  assert.equal(await role(), 'member');

  // Workloads exchange their token for a short session, for less than they may.
  const exchange = (fields) => llmos.ask('/auth/token', { body: new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', ...fields }) });
  const session = (await exchange({ subject_token: job, scope: 'list_models' })).json();
  assert.equal(session.token_type, 'Bearer');
  assert.ok(session.expires_in <= 900);
  assert.equal(await status(session.access_token), 200);
  const chat = await llmos.ask('/v1/chat/completions', { bearer: session.access_token,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'mock', messages: [{ role: 'user', content: 'x' }] }) });
  assert.deepEqual([chat.status, chat.json().error.code], [403, 'out_of_key_scope']);
  for (const fields of [{ subject_token: 'x' }, { subject_token: mint({ aud: 'other' }) }, { subject_token: job, scope: 'nonsense' }]) {
    assert.equal((await exchange(fields)).status, 400);
  }
});

test('a24, a25, a39: an emergency, with a code of an app', limit, async () => {
  const page = await open();
  await page.click('text=Sign in without the provider');
  const form = page.locator('form[action="/auth/setup"]');
  await form.locator('[name=token]').fill(llmos.setupToken);
  await form.locator('[name=reason]').fill('the provider is down');
  await form.locator('button').click();
  await page.waitForSelector('text=Add a second factor');
  assert.match(llmos.log(), /alarm="?break_glass"?.*the provider is down/);
  await page.click('text=Use an authenticator app');
  const seed = await page.innerText('code');
  const code = (steps = 0) => totp(seed, Math.floor(Date.now() / 30_000) + steps);
  const first = code();
  await page.fill('[name=code]', first);
  await page.click('text=Add');
  await page.waitForSelector('#codes');
  const codes = await page.locator('#codes code').allInnerTexts();
  await page.click('text=I have them');
  assert.deepEqual(await asks(page), { status: 200 });

  // The token was good once.
  const redeem = async (token) => {
    const again = await open();
    await again.click('text=Sign in without the provider');
    const at = again.locator('form[action="/auth/setup"]');
    await at.locator('[name=token]').fill(token);
    await at.locator('[name=reason]').fill('the provider is down');
    await at.locator('button').click();
    return again;
  };
  assert.equal(await heading(await redeem(llmos.setupToken)), 'You are not signed in');
  const invite = async () => {
    const made = await llmos.run('users', 'invite', '--tenant', 'default', '--user', 'owner', '--json', '--config', 'llmos.toml');
    assert.equal(made.code, 0, made.stderr);
    return JSON.parse(made.stdout).token;
  };
  const prove = async (kind, value) => {
    const at = await redeem(await invite());
    assert.equal(await heading(at), 'Prove that it is you');
    if (kind === 'recovery') await at.click('text=I have lost it');
    const proof = at.locator(`form[action="/auth/proofs/${kind}"]`);
    await proof.locator('[name=code]').fill(value);
    await proof.locator('button').click();
    return heading(at);
  };
  const [yes, no] = ['You are signed in', 'You are not signed in'];
  assert.equal(await prove('totp', first), no, 'the same code twice');
  assert.equal(await prove('totp', code(-2)), no, 'too old');
  assert.equal(await prove('recovery', codes[0]), yes);
  assert.equal(await prove('recovery', codes[0]), no, 'a recovery code twice');
  assert.match(llmos.log(), /alarm="?recovery_code_reused/);
  assert.equal(await prove('recovery', codes[1].toLowerCase().replaceAll('-', ' ')), yes, 'as people type it');
  for (let tries = 0; tries < 5; tries += 1) assert.equal(await prove('totp', '000000'), no);
  assert.match(llmos.log(), /alarm="?wrong_codes/);
  // From whichever session, and also with the right one.
  assert.equal(await prove('recovery', codes[2]), no, 'the account is locked');

  // All of it is in the audit log, under a mark of its own; what went wrong and what the reason was, too.
  const records = async (...flags) => {
    const found = await llmos.run('audit', 'search', '--json', '--config', 'llmos.toml', '--limit', '1000', ...flags);
    assert.equal(found.code, 0, found.stderr);
    return JSON.parse(found.stdout).records;
  };
  const marked = await records('--break-glass');
  assert.ok(marked.every(({ record }) => record.break_glass === true));
  const actions = new Set(marked.map(({ record }) => record.action));
  for (const action of ['break_glass', 'session_begin', 'factor_add', 'list_models']) {
    assert.ok(actions.has(action), `${action} is not among ${[...actions]}`);
  }
  const begun = marked.find(({ record }) => record.action === 'break_glass');
  assert.equal(begun.opened.reason, 'the provider is down');
  assert.equal(JSON.parse(begun.opened.caller).user, 'owner');
  assert.ok(!JSON.stringify(marked.map(({ record }) => record)).includes('provider is down'), 'the reason is sealed');
  // Who signs in by a provider is not marked, and what was done in the session of an emergency is, all of it.
  const ended = marked.filter(({ record }) => record.kind === 'end').map(({ record }) => record.begin);
  assert.ok(ended.every((begin) => marked.some(({ index }) => index === begin)));
  assert.ok((await records('--action', 'wrong_code')).length >= 5);
  assert.ok((await records('--action', 'session_begin')).some(({ record }) => !record.break_glass));
});

test('a18: a provider pushes who is there, and who is not any more (SCIM)', limit, async () => {
  const made = await llmos.run('keys', 'create', '--label', 'scim', '--user', 'owner', '--role', 'owner', '--action', 'provision_users',
    '--json', '--config', 'llmos.toml');
  assert.equal(made.code, 0, made.stderr);
  const bearer = JSON.parse(made.stdout).secret;
  const scim = async (method, place, body, at = 'corp') => {
    const answer = await llmos.ask(`/scim/v2/${at}${place}`, {
      method, bearer, headers: body ? { 'content-type': 'application/scim+json' } : {}, body: body && JSON.stringify(body),
    });
    return { status: answer.status, body: answer.text ? answer.json() : undefined };
  };
  // The key is for that, and nothing else.
  assert.equal((await llmos.ask('/v1/models', { bearer })).status, 403);
  assert.equal((await scim('GET', '/ServiceProviderConfig')).body.patch.supported, true);
  const user = await scim('POST', '/Users', { userName: 'grace@example.org', externalId: 'grace', displayName: 'Grace' });
  assert.deepEqual([user.status, user.body.active], [201, true]);
  assert.equal((await scim('POST', '/Users', { userName: 'grace@example.org', externalId: 'other' })).body.scimType, 'uniqueness');
  const { id } = user.body;
  const found = await scim('GET', `/Users?${new URLSearchParams({ filter: 'userName eq "grace@example.org"' })}`);
  assert.deepEqual([found.body.totalResults, found.body.Resources[0].id], [1, id]);
  assert.equal((await scim('GET', `/Users?${new URLSearchParams({ filter: 'userName co "x"' })}`)).body.scimType, 'invalidFilter');

  // In no group, so not let in; the group does it, without a sign-in, and what a token says of groups is not needed.
  const grace = await provider.mint({ iss: provider.issuer, sub: 'grace', aud: AUDIENCE, iat: Math.floor(Date.now() / 1000),
    exp: Math.floor(Date.now() / 1000) + 600 }, { typ: 'at+jwt' });
  const status = async () => (await llmos.ask('/v1/models', { bearer: grace })).status;
  assert.equal(await status(), 401);
  const group = await scim('POST', '/Groups', { displayName: 'doctors', members: [{ value: id }] });
  assert.deepEqual([group.status, group.body.members], [201, [{ value: id, display: 'grace@example.org' }]]);
  assert.equal(await status(), 200);
  const key = await llmos.run('keys', 'create', '--label', 'x', '--tenant', 'clinic', '--user', 'corp:grace', '--role', 'member',
    '--class-max', 'normal', '--data-class-max', 'internal', '--json', '--config', 'llmos.toml');
  assert.equal(key.code, 0, key.stderr);
  const own = JSON.parse(key.stdout).secret;
  const ofKey = async () => (await llmos.ask('/v1/models', { bearer: own })).status;
  assert.equal(await ofKey(), 200);

  const patch = (place, ...Operations) => scim('PATCH', place, {
    schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations });
  assert.equal((await patch(`/Users/${id}`, { op: 'Replace', path: 'active', value: 'False' })).body.active, false);
  assert.deepEqual([await status(), await ofKey()], [401, 401]);
  await patch(`/Users/${id}`, { op: 'replace', value: { active: true } });
  assert.deepEqual([await status(), await ofKey()], [200, 200]);
  // Whoever is suspended by hand is not let in by the provider.
  const hand = (verb) => llmos.run('users', verb, '--tenant', 'clinic', '--user', 'corp:grace', '--config', 'llmos.toml');
  await hand('suspend');
  await patch(`/Users/${id}`, { op: 'replace', value: { displayName: 'Grace H.' } });
  assert.deepEqual([await status(), await ofKey()], [401, 401]);
  await hand('resume');
  await patch(`/Groups/${group.body.id}`, { op: 'remove', path: `members[value eq "${id}"]` });
  assert.deepEqual([await status(), await ofKey()], [401, 401]);
  await patch(`/Groups/${group.body.id}`, { op: 'add', path: 'members', value: [{ value: id }] });
  assert.equal(await ofKey(), 200);

  // What one provider has pushed is nowhere for another one.
  for (const [method, place] of [['GET', `/Users/${id}`], ['DELETE', `/Users/${id}`], ['GET', `/Groups/${group.body.id}`]]) {
    assert.equal((await scim(method, place, undefined, 'glewlwyd')).status, 404);
  }
  assert.equal((await scim('GET', '/Users', undefined, 'glewlwyd')).body.totalResults, 0);
  assert.equal((await scim('GET', '/Users', undefined, 'nobody')).status, 404);
  assert.equal((await scim('DELETE', `/Users/${id}`)).status, 204);
  assert.deepEqual([await status(), await ofKey()], [401, 401]);
  assert.equal((await scim('GET', `/Users/${id}`)).status, 404);
  assert.deepEqual((await scim('GET', `/Groups/${group.body.id}`)).body.members, []);
});

/** RFC 6238 with SHA-1, by hand. */
function totp(seed, step) {
  const bits = [...seed].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const hash = createHmac('sha1', key).update(counter).digest();
  const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}
