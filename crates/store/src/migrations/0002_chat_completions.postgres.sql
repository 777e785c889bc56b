-- Chat completions that were asked to be stored. What was said is sealed by the key of the person it is about; the rest is
-- what a list and a retention rule need. The local operator has tenant 0 and user 0, which are no rows.
CREATE TABLE chat_completion (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id BYTEA NOT NULL UNIQUE CHECK (octet_length(id) = 16),
    tenant BIGINT NOT NULL,
    "user" BIGINT NOT NULL,
    subject_key BYTEA NOT NULL CHECK (octet_length(subject_key) = 16),
    data_class BIGINT NOT NULL,
    model TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0),
    messages BYTEA NOT NULL,
    answer BYTEA NOT NULL,
    metadata BYTEA NOT NULL
);

CREATE INDEX chat_completion_owner ON chat_completion (tenant, "user", number);
CREATE INDEX chat_completion_subject_key ON chat_completion (subject_key);
CREATE INDEX chat_completion_expires_at ON chat_completion (expires_at);

-- Keys that were destroyed. The database of the keys has the same list: whichever of the two is restored from an older copy
-- learns from the other what must not come back.
CREATE TABLE tombstone (
    id BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(id) = 16),
    tenant BIGINT NOT NULL,
    shredded_at BIGINT NOT NULL CHECK (shredded_at >= 0)
);
