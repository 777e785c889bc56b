// What the provider remembers (sessions, grants, codes, tokens), in memory and for one provider. The memory of
// oidc-provider itself belongs to one instance; ours outlives a change of keys and can be asked for sessions.

const ENTRIES_MAX = 10_000;

/** Returns `{ adapter, sessionsOf(sub) }`; `adapter` is the setting of oidc-provider. */
export function makeStore() {
  /** `MODEL:ID` to `{ payload, until }`. */
  const entries = new Map();

  const get = (key) => {
    const entry = entries.get(key);
    return entry && entry.until > Date.now() ? entry.payload : undefined;
  };
  const first = (model, holds) => {
    for (const key of entries.keys()) {
      const payload = key.startsWith(`${model}:`) ? get(key) : undefined;
      if (payload && holds(payload)) return payload;
    }
    return undefined;
  };

  class Adapter {
    constructor(model) {
      this.model = model;
    }

    async upsert(id, payload, seconds) {
      if (entries.size >= ENTRIES_MAX) throw new Error(`the provider remembers more than ${ENTRIES_MAX} things`);
      const until = typeof seconds === 'number' ? Date.now() + seconds * 1000 : Infinity;
      entries.set(`${this.model}:${id}`, { payload, until });
    }

    async find(id) {
      return get(`${this.model}:${id}`);
    }

    async findByUid(uid) {
      return first(this.model, (payload) => payload.uid === uid);
    }

    async findByUserCode(code) {
      return first(this.model, (payload) => payload.userCode === code);
    }

    async consume(id) {
      const payload = get(`${this.model}:${id}`);
      if (payload) payload.consumed = Math.floor(Date.now() / 1000);
    }

    async destroy(id) {
      entries.delete(`${this.model}:${id}`);
    }

    async revokeByGrantId(grant) {
      for (const [key, { payload }] of entries) {
        if (payload.grantId === grant && !key.startsWith('Session:')) entries.delete(key);
      }
    }
  }

  return {
    adapter: (model) => new Adapter(model),
    /** The ids of the account's sessions that have not ended. */
    sessionsOf: (sub) => [...entries.keys()]
      .filter((key) => key.startsWith('Session:') && get(key)?.accountId === sub)
      .map((key) => key.slice('Session:'.length)),
  };
}
