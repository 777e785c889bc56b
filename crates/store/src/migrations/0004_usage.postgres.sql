-- What was used, by day (days since 1970, UTC), user and model. The local operator has tenant 0 and user 0, which are no rows.
CREATE TABLE usage (
    day BIGINT NOT NULL,
    tenant BIGINT NOT NULL,
    "user" BIGINT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    PRIMARY KEY (day, tenant, "user", model)
);
