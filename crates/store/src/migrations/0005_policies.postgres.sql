-- Policies that tenants have uploaded for their own users, in Cedar's language.
CREATE TABLE policy (
    tenant BIGINT NOT NULL REFERENCES tenant (id),
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (tenant, name)
);
-- Until now `administrator` was the widest role, over all tenants; that is `owner` now.
UPDATE "user" SET role = 'owner' WHERE role = 'administrator';
UPDATE api_key SET role = 'owner' WHERE role = 'administrator';
