// The provider's own pages: one form to sign in, one to consent, one to sign out. Their ids are what browser.mjs
// looks for: sign-in, name, password, consent, allow, deny, message, sign-out.

const FORM_BYTES_MAX = 16 * 1024;

const escape = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const page = (title, body) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(title)}</title></head>
<body><h1>${escape(title)}</h1>${body}</body></html>`;

const signInPage = (message) => page('Sign in', `
${message ? `<p id="message">${escape(message)}</p>` : ''}
<form id="sign-in" method="post" autocomplete="off">
<label>Name <input id="name" name="name" required autofocus></label>
<label>Password <input id="password" name="password" type="password" required></label>
<button id="submit">Sign in</button></form>`);

const consentPage = (client, scope) => page('Consent', `
<p><b id="client">${escape(client)}</b> asks for <span id="scope">${escape(scope)}</span>.</p>
<form id="consent" method="post">
<button id="allow" name="answer" value="allow">Allow</button>
<button id="deny" name="answer" value="deny">Deny</button></form>`);

/** The question of RP-initiated logout. `form` is what oidc-provider wants to get back, with the id op.logoutForm. */
export const signOutPage = (form) => page('Sign out', `${form}
<button id="sign-out" form="op.logoutForm" name="logout" value="yes">Sign out</button>`);

/** Shown after a logout for which the client named no address. */
export const signedOutPage = () => page('Signed out', '<p id="signed-out">You are signed out.</p>');

export const errorPage = (out) => page('Error', `<p id="error">${escape(out.error)}</p>
<p id="description">${escape(out.error_description ?? '')}</p>`);

async function readForm(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > FORM_BYTES_MAX) throw new Error('the form is too long');
    parts.push(part);
  }
  return new URLSearchParams(Buffer.concat(parts).toString('utf8'));
}

/** Answers `/interaction/ID`; `accounts` is a Map by name, `acrValues` what a login may claim, the usual one first. */
export async function interact(provider, ctx, accounts, acrValues) {
  const details = await provider.interactionDetails(ctx.req, ctx.res);
  const form = ctx.method === 'POST' ? await readForm(ctx.req) : undefined;
  const show = (html, status = 200) => {
    ctx.status = status;
    ctx.type = 'html';
    ctx.body = html;
  };
  const finish = async (result) => {
    ctx.status = 303;
    ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission: true }));
  };

  if (details.prompt.name === 'login') {
    if (!form) return show(signInPage());
    const account = accounts.get(form.get('name'));
    if (!account || account.password !== form.get('password')) {
      return show(signInPage('The name or the password is wrong.'), 401);
    }
    const acr = acrOf(account, details.params, acrValues);
    // The page asks for a password only; the second factor is said, not asked for.
    return finish({ login: { accountId: account.sub, acr, amr: acr === acrValues[0] ? ['pwd'] : ['pwd', 'otp'] } });
  }

  if (!form) return show(consentPage(details.params.client_id, details.params.scope));
  if (form.get('answer') !== 'allow') {
    return finish({ error: 'access_denied', error_description: 'the user said no' });
  }
  return finish({ consent: { grantId: await grant(provider, details) } });
}

/** What the account always gets, or the first that the relying party asked for and that there is, or the usual. */
function acrOf(account, params, acrValues) {
  const asked = (params.acr_values ?? '').split(' ').find((value) => acrValues.includes(value));
  return account.acr ?? asked ?? acrValues[0];
}

async function grant(provider, { grantId, session, params, prompt }) {
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
  const given = (grantId && await provider.Grant.find(grantId))
    ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (missingOIDCScope) given.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims) given.addOIDCClaims(missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    given.addResourceScope(resource, scopes.join(' '));
  }
  return given.save();
}
