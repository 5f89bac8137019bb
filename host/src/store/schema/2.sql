-- Format 2: removed state is parked for a while, and each change of what runs is written down.

-- Keys of stages that are gone, as in `keys`, by the names of the stage.
CREATE TABLE parked (
    pipeline      TEXT    NOT NULL,
    stage         TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    parked_at     INTEGER NOT NULL,
    device        TEXT,
    state         BLOB,
    state_version INTEGER NOT NULL,
    at            INTEGER,
    ordinal       INTEGER NOT NULL,
    late          INTEGER NOT NULL,
    lag_ms        INTEGER NOT NULL,
    wake_at       INTEGER,
    settings      BLOB    NOT NULL,
    unsure        INTEGER NOT NULL,
    PRIMARY KEY (pipeline, stage, key)
) WITHOUT ROWID;
CREATE INDEX parked_by_time ON parked (parked_at);

-- What was changed, when and by whom, the last one last. `rev` where it was a configuration
-- that somebody pushed; `what` in words, a line for each part.
CREATE TABLE journal (
    n       INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    author  TEXT    NOT NULL,
    rev     INTEGER,
    devices INTEGER NOT NULL,
    what    TEXT    NOT NULL
);
CREATE INDEX journal_by_rev ON journal (rev) WHERE rev IS NOT NULL;
INSERT INTO journal (at, author, rev, devices, what)
SELECT at, author, rev,
       CASE WHEN json_valid(CAST(document AS TEXT))
            THEN COALESCE(json_array_length(CAST(document AS TEXT), '$.document.devices'), 0)
            ELSE 0 END,
       ''
FROM revisions ORDER BY rev;
