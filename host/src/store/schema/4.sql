-- Format 4.

-- The last that a detector said of each key's session, so that running ones are known after a
-- restart. `data` is the event's JSON.
CREATE TABLE said (
    stage  INTEGER NOT NULL REFERENCES stages (id),
    key    TEXT    NOT NULL,
    device TEXT,
    kind   TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    data   TEXT    NOT NULL,
    PRIMARY KEY (stage, key)
) WITHOUT ROWID;
