-- Format 7.

-- A sink's rows in commit order: without it, each look for new rows, or for the oldest, reads
-- all that wait.
CREATE INDEX outbox_by_sink ON outbox (sink);
