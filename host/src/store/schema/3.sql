-- Format 3.

-- The key of a detector's input: a replay steps this key alone.
ALTER TABLE dead_letters ADD COLUMN key TEXT;

-- The bytes of a row that could not be read.
ALTER TABLE dead_letters ADD COLUMN raw BLOB;

-- What was done on a person's word, the newest last.
CREATE TABLE audit (
    n      INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    author TEXT    NOT NULL,
    action TEXT    NOT NULL,
    what   TEXT    NOT NULL
);
