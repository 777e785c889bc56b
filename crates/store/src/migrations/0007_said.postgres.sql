-- What a provider said of an account at its last sign-in, or by a token since: what an account that was not pushed may do is worked
-- out from it, also when the configuration has changed meanwhile.
CREATE TABLE said (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Seconds since 1970: what the provider said before does not count any more.
    as_of BIGINT NOT NULL CHECK (as_of >= 0),
    PRIMARY KEY (issuer, subject)
);
CREATE TABLE said_group (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (issuer, subject, name),
    FOREIGN KEY (issuer, subject) REFERENCES said (issuer, subject) ON DELETE CASCADE
);
-- Nobody has written down the groups of those who have signed in so far: with their next sign-in, they say them again.
INSERT INTO said (issuer, subject, as_of) SELECT issuer, subject, max(as_of) FROM identity GROUP BY issuer, subject;
ALTER TABLE identity DROP COLUMN as_of;

-- Who was shut out by their provider was marked as suspended. Now only those are whom somebody has suspended by hand.
UPDATE "user" SET suspended_at = NULL WHERE id IN (
    SELECT i."user" FROM identity i JOIN scim_account a ON a.issuer = i.issuer AND a.subject = i.subject WHERE a.allowed = 0
);
ALTER TABLE scim_account DROP COLUMN allowed;

-- Wrong codes of users since their last right one.
CREATE TABLE wrong_codes (
    "user" BIGINT NOT NULL PRIMARY KEY REFERENCES "user" (id),
    count BIGINT NOT NULL CHECK (count > 0),
    -- Seconds since 1970: until then no code is looked at.
    locked_until BIGINT NOT NULL CHECK (locked_until >= 0)
);
