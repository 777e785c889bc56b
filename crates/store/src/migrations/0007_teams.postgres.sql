-- Their team in the tenant; what they may use models for (names with a space between them; absent: they are bound to none); and
-- whether they are a program.
ALTER TABLE "user" ADD COLUMN team TEXT;
ALTER TABLE "user" ADD COLUMN purposes TEXT;
ALTER TABLE "user" ADD COLUMN is_service BIGINT NOT NULL DEFAULT 0 CHECK (is_service IN (0, 1));
ALTER TABLE api_key ADD COLUMN purposes TEXT;

-- What was used, also by the team that the user was in and by key (empty: none), and what it cost, in billionths of the currency.
CREATE TABLE usage_by_key (
    day BIGINT NOT NULL,
    tenant BIGINT NOT NULL,
    "user" BIGINT NOT NULL,
    team TEXT NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    spend BIGINT NOT NULL,
    PRIMARY KEY (day, tenant, "user", team, key, model)
);
INSERT INTO usage_by_key
    SELECT day, tenant, "user", '', '', model, requests, input_tokens, output_tokens, 0 FROM usage;
DROP TABLE usage;
ALTER TABLE usage_by_key RENAME TO usage;
