-- Which requests of the audit log, by the index of their beginning, are counted in `usage`: all below `low`, and those that are listed.
-- A row is added with each change of `usage`, in the same transaction, so that after a crash every request is counted once.
CREATE TABLE usage_counted (
    low INTEGER NOT NULL CHECK (low >= 0),
    -- The last of those that are listed here.
    last INTEGER NOT NULL CHECK (last >= 0),
    -- Each as 8 bytes, big-endian.
    begins BLOB NOT NULL
) STRICT;
