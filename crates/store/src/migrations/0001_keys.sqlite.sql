-- Ids are never used twice: who comes later must not inherit what was stored under the id of somebody who left.
CREATE TABLE tenant (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE "user" (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    tenant INTEGER NOT NULL REFERENCES tenant (id),
    name TEXT NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

-- Times are seconds since 1970. The hash is made by `access`; the key itself is nowhere.
CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    label TEXT NOT NULL,
    "user" INTEGER NOT NULL REFERENCES "user" (id),
    role TEXT NOT NULL,
    class_max TEXT NOT NULL,
    data_class_max TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    revoked_at INTEGER CHECK (revoked_at >= 0)
) STRICT;
