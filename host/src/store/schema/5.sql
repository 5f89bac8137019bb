-- Format 5.

-- Messages that came and went, a block for each batch, the newest last. The oldest blocks go
-- first, so numbers have no gaps. `upto` adds up the bytes of all blocks so far: how much is
-- kept is the difference of two rows.
CREATE TABLE history (
    n        INTEGER PRIMARY KEY,
    from_at  INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    upto     INTEGER NOT NULL,
    body     BLOB    NOT NULL
);
