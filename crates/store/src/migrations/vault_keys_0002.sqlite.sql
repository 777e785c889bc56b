-- A person may be given a new key. What was sealed with the one before opens by it still, in the audit log for good; it is
-- destroyed with the person.
CREATE TABLE subject_key_2 (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    wrapped BLOB NOT NULL,
    replaced INTEGER NOT NULL DEFAULT 0 CHECK (replaced IN (0, 1))
) STRICT;

INSERT INTO subject_key_2 (id, tenant, generation, subject, wrapped)
SELECT id, tenant, generation, subject, wrapped FROM subject_key;

DROP TABLE subject_key;
ALTER TABLE subject_key_2 RENAME TO subject_key;

CREATE INDEX subject_key_generation ON subject_key (tenant, generation);
CREATE INDEX subject_key_subject ON subject_key (tenant, subject);
CREATE UNIQUE INDEX subject_key_current ON subject_key (tenant, subject) WHERE replaced = 0;
