-- Ids are never used twice: who comes later must not inherit what was stored under the id of somebody who left.
CREATE TABLE tenant (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (id > 0),
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE "user" (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (id > 0),
    tenant BIGINT NOT NULL REFERENCES tenant (id),
    name TEXT NOT NULL,
    UNIQUE (tenant, name)
);

-- Times are seconds since 1970. The hash is made by `access`; the key itself is nowhere.
CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32),
    label TEXT NOT NULL,
    "user" BIGINT NOT NULL REFERENCES "user" (id),
    role TEXT NOT NULL,
    class_max TEXT NOT NULL,
    data_class_max TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    revoked_at BIGINT CHECK (revoked_at >= 0),
    -- SQLite has it by itself: the order in which rows were made.
    rowid BIGINT GENERATED ALWAYS AS IDENTITY
);
