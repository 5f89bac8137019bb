-- Format 6.

-- Bodies of large deliveries, in parts, which are on the disk before the row of the outbox that
-- refers to them. `n` is the body's number times 65536, plus the part's.
CREATE TABLE bodies (
    n     INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
);
