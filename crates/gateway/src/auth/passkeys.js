// The browser's side of passkeys: asks the server for a challenge, lets the device answer it, and takes the answer back.
"use strict";

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

async function send(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error.message);
  return said;
}

function described(list) {
  return (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));
}

async function made(options) {
  const publicKey = {
    ...options.publicKey,
    challenge: bytes(options.publicKey.challenge),
    user: { ...options.publicKey.user, id: bytes(options.publicKey.user.id) },
    excludeCredentials: described(options.publicKey.excludeCredentials),
  };
  const made = await navigator.credentials.create({ publicKey });
  return {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    extensions: made.getClientExtensionResults(),
    response: {
      attestationObject: text(made.response.attestationObject),
      clientDataJSON: text(made.response.clientDataJSON),
      transports: made.response.getTransports?.() ?? [],
    },
  };
}

async function used(options) {
  const publicKey = {
    ...options.publicKey,
    challenge: bytes(options.publicKey.challenge),
    allowCredentials: described(options.publicKey.allowCredentials),
  };
  const used = await navigator.credentials.get({ publicKey });
  const { authenticatorData, clientDataJSON, signature, userHandle } = used.response;
  return {
    id: used.id,
    rawId: text(used.rawId),
    type: used.type,
    extensions: used.getClientExtensionResults(),
    response: {
      authenticatorData: text(authenticatorData),
      clientDataJSON: text(clientDataJSON),
      signature: text(signature),
      userHandle: userHandle ? text(userHandle) : null,
    },
  };
}

async function run(form) {
  const purpose = form.dataset.passkey;
  const { id, challenge } = await send("/auth/passkeys/challenges", { purpose });
  const answer = purpose === "add" ? await made(challenge) : await used(challenge);
  const field = (name) => form.elements.namedItem(name)?.value ?? null;
  if (purpose === "add") {
    const { codes } = await send("/auth/passkeys", { id, label: field("label"), answer });
    if (codes.length > 0) return show(codes, form.dataset.next);
  } else if (purpose === "prove") {
    await send("/auth/passkeys/proofs", { id, answer });
  } else {
    await send("/auth/passkeys/sign-ins", { id, reason: field("reason"), answer });
  }
  location.assign(form.dataset.next || "/auth");
}

/** Recovery codes, which are shown this once. */
function show(codes, next) {
  const main = document.querySelector("main");
  const element = (name, words) => Object.assign(document.createElement(name), { textContent: words });
  const list = Object.assign(document.createElement("ol"), { id: "codes" });
  for (const code of codes) {
    const item = document.createElement("li");
    item.append(element("code", code));
    list.append(item);
  }
  const on = Object.assign(element("a", "I have them"), { href: next || "/auth", className: "button" });
  main.replaceChildren(
    element("h1", "Your recovery codes"),
    element("p", "Print these and lock them away. Each is good once, if your other factors are lost. They are not shown again."),
    list,
    on,
  );
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const error = document.getElementById("error");
    error.textContent = "";
    try {
      await run(form);
    } catch (problem) {
      error.textContent = problem.message;
    }
  });
}
