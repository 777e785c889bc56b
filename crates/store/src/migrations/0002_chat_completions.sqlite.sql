-- Chat completions that were asked to be stored. What was said is sealed by the key of the person it is about; the rest is
-- what a list and a retention rule need. The local operator has tenant 0 and user 0, which are no rows.
CREATE TABLE chat_completion (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    tenant INTEGER NOT NULL,
    "user" INTEGER NOT NULL,
    subject_key BLOB NOT NULL CHECK (length(subject_key) = 16),
    data_class INTEGER NOT NULL,
    model TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    messages BLOB NOT NULL,
    answer BLOB NOT NULL,
    metadata BLOB NOT NULL
) STRICT;

CREATE INDEX chat_completion_owner ON chat_completion (tenant, "user", number);
CREATE INDEX chat_completion_subject_key ON chat_completion (subject_key);
CREATE INDEX chat_completion_expires_at ON chat_completion (expires_at);

-- Keys that were destroyed. The database of the keys has the same list: whichever of the two is restored from an older copy
-- learns from the other what must not come back.
CREATE TABLE tombstone (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant INTEGER NOT NULL,
    shredded_at INTEGER NOT NULL CHECK (shredded_at >= 0)
) STRICT;
