-- Accounts at identity providers: who they are here. An issuer and a subject name an account, and nothing else does.
CREATE TABLE identity (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    tenant BIGINT NOT NULL REFERENCES tenant (id),
    "user" BIGINT NOT NULL REFERENCES "user" (id),
    -- When the provider said what the user may do: what it said before does not count any more.
    as_of BIGINT NOT NULL CHECK (as_of >= 0),
    PRIMARY KEY (issuer, subject, tenant)
);

-- Sign-ins that are in force; one that ends is deleted. The hash is made by `access`, as that of a key.
CREATE TABLE login_session (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32),
    "user" BIGINT NOT NULL REFERENCES "user" (id),
    kind TEXT NOT NULL,
    -- How far the sign-in has come, and what it may be used for.
    stage TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    seen_at BIGINT NOT NULL CHECK (seen_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0),
    -- Names of the actions that it is for, with a space between them; empty: all that its user may.
    actions TEXT NOT NULL,
    -- When somebody last proved that they are there themselves.
    present_at BIGINT CHECK (present_at >= 0),
    -- Of a sign-in at a provider: whose, and which session there.
    issuer TEXT,
    subject TEXT,
    issuer_session TEXT
);

-- What users can prove themselves with.
CREATE TABLE factor (
    id TEXT NOT NULL PRIMARY KEY,
    "user" BIGINT NOT NULL REFERENCES "user" (id),
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    -- A public key, a sealed seed, or a keyed hash.
    data BYTEA NOT NULL,
    -- Of codes for an app: the last step that was accepted. Of others: when it was last used.
    used BIGINT CHECK (used >= 0),
    created_at BIGINT NOT NULL CHECK (created_at >= 0)
);
CREATE INDEX factor_user ON factor ("user");

-- What a provider pushes (SCIM 2.0): accounts, whether they are active, and the groups that they are in.
CREATE TABLE scim_account (
    id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    active BIGINT NOT NULL CHECK (active IN (0, 1)),
    -- Whether it was let in when its groups were last looked at.
    allowed BIGINT NOT NULL CHECK (allowed IN (0, 1)),
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    changed_at BIGINT NOT NULL CHECK (changed_at >= 0),
    UNIQUE (issuer, subject),
    UNIQUE (issuer, user_name)
);
CREATE TABLE scim_group (
    id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    name TEXT NOT NULL,
    external_id TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    changed_at BIGINT NOT NULL CHECK (changed_at >= 0),
    UNIQUE (issuer, name)
);
CREATE TABLE scim_member (
    in_group TEXT NOT NULL REFERENCES scim_group (id) ON DELETE CASCADE,
    account TEXT NOT NULL REFERENCES scim_account (id) ON DELETE CASCADE,
    PRIMARY KEY (in_group, account)
);
CREATE INDEX scim_member_account ON scim_member (account);
