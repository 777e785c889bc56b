-- What a user may do stands with the user; a key only narrows it. Users who are there keep the widest rights of their keys.
ALTER TABLE "user" ADD COLUMN role TEXT NOT NULL DEFAULT 'member';
ALTER TABLE "user" ADD COLUMN class_max TEXT NOT NULL DEFAULT 'batch';
ALTER TABLE "user" ADD COLUMN data_class_max TEXT NOT NULL DEFAULT 'public';
ALTER TABLE "user" ADD COLUMN suspended_at BIGINT CHECK (suspended_at >= 0);

UPDATE "user" SET
    role = CASE
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.role = 'administrator') THEN 'administrator'
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.role = 'operator') THEN 'operator'
        ELSE 'member' END,
    class_max = CASE
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.class_max = 'system') THEN 'system'
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.class_max = 'interactive') THEN 'interactive'
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.class_max = 'normal') THEN 'normal'
        ELSE 'batch' END,
    data_class_max = CASE
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.data_class_max = 'restricted') THEN 'restricted'
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.data_class_max = 'confidential') THEN 'confidential'
        WHEN EXISTS (SELECT 1 FROM api_key k WHERE k."user" = "user".id AND k.data_class_max = 'internal') THEN 'internal'
        ELSE 'public' END;

-- The scope: names of actions and of models, with a space between them; empty: all that the owner may. While a key is rotated
-- its old secret is accepted too, for a while.
ALTER TABLE api_key ADD COLUMN expires_at BIGINT CHECK (expires_at >= 0);
ALTER TABLE api_key ADD COLUMN actions TEXT NOT NULL DEFAULT '';
ALTER TABLE api_key ADD COLUMN models TEXT NOT NULL DEFAULT '';
ALTER TABLE api_key ADD COLUMN old_hash BYTEA CHECK (octet_length(old_hash) = 32);
ALTER TABLE api_key ADD COLUMN old_until BIGINT CHECK (old_until >= 0);
