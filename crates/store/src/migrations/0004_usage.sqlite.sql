-- What was used, by day (days since 1970, UTC), user and model. The local operator has tenant 0 and user 0, which are no rows.
CREATE TABLE usage (
    day INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    "user" INTEGER NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, "user", model)
) STRICT;
