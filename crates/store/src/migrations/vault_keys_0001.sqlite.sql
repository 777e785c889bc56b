-- All keys are wrapped: those of tenants by the root, those of subjects by their tenant's. Numbers and hashes of names are
-- no secrets.
CREATE TABLE tenant_key (
    tenant INTEGER NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    root BLOB NOT NULL CHECK (length(root) = 16),
    wrapped BLOB NOT NULL,
    index_key BLOB NOT NULL,
    PRIMARY KEY (tenant, generation)
) STRICT;

CREATE TABLE subject_key (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    wrapped BLOB NOT NULL,
    UNIQUE (tenant, subject)
) STRICT;

CREATE INDEX subject_key_generation ON subject_key (tenant, generation);

-- What was destroyed stays destroyed, also after older keys are restored.
CREATE TABLE tombstone (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant INTEGER NOT NULL,
    shredded_at INTEGER NOT NULL CHECK (shredded_at >= 0)
) STRICT;
