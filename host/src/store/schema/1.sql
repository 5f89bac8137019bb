-- Format 1. Times are milliseconds since the epoch.

-- Names of stages and sinks, so that rows carry a small number.
CREATE TABLE stages (
    id       INTEGER PRIMARY KEY,
    pipeline TEXT NOT NULL,
    stage    TEXT NOT NULL,
    UNIQUE (pipeline, stage)
);

-- State and wake-up of each key of each detector.
CREATE TABLE keys (
    stage         INTEGER NOT NULL REFERENCES stages (id),
    key           TEXT    NOT NULL,
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
    PRIMARY KEY (stage, key)
) WITHOUT ROWID;

-- What waits for a sink; row order is commit order.
CREATE TABLE outbox (
    row        INTEGER PRIMARY KEY,
    sink       INTEGER NOT NULL REFERENCES stages (id),
    key        TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER,
    tries      INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    body       BLOB    NOT NULL
);
CREATE INDEX outbox_by_key ON outbox (sink, key);
CREATE UNIQUE INDEX outbox_by_id ON outbox (sink, id);
CREATE INDEX outbox_by_expiry ON outbox (sink, expires_at) WHERE expires_at IS NOT NULL;

-- The last number given to a delivery of a key.
CREATE TABLE seqs (
    sink INTEGER NOT NULL REFERENCES stages (id),
    key  TEXT    NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) WITHOUT ROWID;

-- Ids that were delivered lately, oldest first.
CREATE TABLE delivered (
    n    INTEGER PRIMARY KEY,
    sink INTEGER NOT NULL REFERENCES stages (id),
    id   BLOB    NOT NULL,
    at   INTEGER NOT NULL
);
CREATE UNIQUE INDEX delivered_by_id ON delivered (sink, id);

-- A number is what people call a dead letter by, so it is never used twice.
CREATE TABLE dead_letters (
    n        INTEGER PRIMARY KEY AUTOINCREMENT,
    stage    INTEGER NOT NULL REFERENCES stages (id),
    at       INTEGER NOT NULL,
    code     TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    device   TEXT,
    attempts INTEGER NOT NULL,
    body     BLOB    NOT NULL
);
CREATE INDEX dead_letters_by_stage ON dead_letters (stage);

-- Which pipelines take messages of which brokers.
CREATE TABLE links (
    id       INTEGER PRIMARY KEY,
    broker   TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    UNIQUE (broker, pipeline)
);

-- Committed QoS 1/2 messages, by link * 65536 + packet id.
CREATE TABLE marks (
    slot  INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    hash  INTEGER NOT NULL,
    seq   INTEGER NOT NULL
);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- Accepted configurations, the last one last.
CREATE TABLE revisions (
    rev      INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    author   TEXT    NOT NULL,
    document BLOB    NOT NULL
);
