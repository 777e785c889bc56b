// A tiny relying party at http://localhost, for the test of the kit: code flow with PKCE, state and nonce, by hand.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import { ask } from './http.mjs';
import { verifyToken } from './jwt.mjs';

const FORM_BYTES_MAX = 64 * 1024;
const LOGINS_MAX = 100;

const random = () => randomBytes(32).toString('base64url');

/**
 * Starts it. `know({ issuer, id, secret, ca, scope })` tells it a provider, after which
 * `/login?issuer=ISSUER` (and `acr_values`) begins a login. Logins and logout tokens are in `logins` and `logouts`.
 */
export async function startParty() {
  const providers = new Map();
  const begun = new Map();
  const logins = [];
  const logouts = [];
  let origin;

  async function login(query) {
    const provider = providers.get(query.get('issuer'));
    if (begun.size >= LOGINS_MAX) throw new Error('too many logins');
    const [state, nonce, verifier] = [random(), random(), random()];
    begun.set(state, { provider, nonce, verifier });
    const url = new URL(provider.discovery.authorization_endpoint);
    url.search = new URLSearchParams({
      response_type: 'code', client_id: provider.id, redirect_uri: `${origin}/callback`, scope: provider.scope, state,
      nonce, code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
      ...(query.has('acr_values') ? { acr_values: query.get('acr_values') } : {}),
    });
    return url.href;
  }

  async function callback(query) {
    const { provider, nonce, verifier } = begun.get(query.get('state')) ?? {};
    if (!provider) throw new Error('the state is not ours');
    begun.delete(query.get('state'));
    if (query.has('iss') && query.get('iss') !== provider.issuer) throw new Error('another provider answered');
    if (query.has('error')) throw new Error(query.get('error'));
    const basic = `${encodeURIComponent(provider.id)}:${encodeURIComponent(provider.secret)}`;
    const answer = await ask(provider.discovery.token_endpoint, {
      ca: provider.ca,
      headers: { authorization: `Basic ${Buffer.from(basic).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'authorization_code', code: query.get('code'),
        redirect_uri: `${origin}/callback`, code_verifier: verifier }),
    });
    if (answer.status !== 200) throw new Error(`the token endpoint said ${answer.status}: ${answer.text}`);
    const tokens = answer.json();
    const { header, claims } = await provider.verify(tokens.id_token);
    if (claims.iss !== provider.issuer) throw new Error('the issuer is another');
    if (![claims.aud].flat().includes(provider.id)) throw new Error('the token is for somebody else');
    if (claims.nonce !== nonce) throw new Error('the nonce is another');
    if (claims.exp * 1000 < Date.now()) throw new Error('the token has expired');
    logins.push({ header, claims, tokens, query: Object.fromEntries(query) });
    return `signed in as ${claims.sub}`;
  }

  async function logout(request) {
    const token = new URLSearchParams(await readBody(request)).get('logout_token');
    const { issuer } = [...providers.values()].find((provider) => token && provider.known(token)) ?? {};
    logouts.push(await providers.get(issuer).verify(token));
  }

  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, origin);
    try {
      if (pathname === '/login') response.writeHead(303, { location: await login(searchParams) }).end();
      else if (pathname === '/callback') page(response, 200, await callback(searchParams));
      else if (pathname === '/backchannel') {
        await logout(request);
        response.writeHead(200, { 'cache-control': 'no-store' }).end();
      } else page(response, 200, pathname);
    } catch (error) {
      page(response, 400, `failed: ${error.message}`);
    }
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  origin = `http://localhost:${server.address().port}`;

  return {
    url: origin,
    redirectUri: `${origin}/callback`,
    signedOutUri: `${origin}/signed-out`,
    backchannelLogoutUri: `${origin}/backchannel`,
    logins,
    logouts,
    discovery: (issuer) => providers.get(issuer).discovery,
    async know({ issuer, id, secret, ca, scope }) {
      const discovery = (await ask(`${issuer}/.well-known/openid-configuration`, { ca })).json();
      if (discovery.issuer !== issuer) throw new Error(`${issuer} calls itself ${discovery.issuer}`);
      const verify = async (token) => verifyToken(token, (await ask(discovery.jwks_uri, { ca })).json());
      const known = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).iss === issuer;
      providers.set(issuer, { issuer, id, secret, ca, scope, discovery, verify, known });
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function page(response, status, text) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' });
  response.end(`<!doctype html><html lang="en"><title>relying party</title><p id="text">${text
    .replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`)}</p></html>`);
}

async function readBody(request) {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > FORM_BYTES_MAX) throw new Error('the form is too long');
  }
  return text;
}
