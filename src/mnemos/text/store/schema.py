"""Tables of the SQLite store, as a list of forward migrations.

`user_version` counts how many have run. A migration that has been released is never edited.
"""

APPLICATION_ID = 0x6D6E656D
"""'mnem': tells a mnemos store from any other SQLite file."""

MIGRATIONS = (
    """
    CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE scopes(id INTEGER PRIMARY KEY, user TEXT NOT NULL, agent TEXT NOT NULL, UNIQUE(user, agent));

    CREATE TABLE operations(
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, at REAL NOT NULL,
        scope INTEGER NOT NULL, note TEXT NOT NULL);
    -- body is NULL where a hard forget erased it
    CREATE TABLE log(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, operation INTEGER NOT NULL, scope INTEGER NOT NULL,
        record TEXT NOT NULL, body TEXT);
    CREATE INDEX log_record ON log(record);
    CREATE INDEX log_operation ON log(operation);

    -- the latest version of each record; its text is log.body at `version`
    CREATE TABLE records(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, scope INTEGER NOT NULL,
        version INTEGER NOT NULL, kind TEXT NOT NULL, session TEXT NOT NULL, speaker TEXT NOT NULL,
        at REAL, valid_from REAL, valid_to REAL, expires_at REAL, hidden INTEGER NOT NULL,
        slot TEXT NOT NULL, traits INTEGER NOT NULL, terms BLOB NOT NULL,
        mentions BLOB NOT NULL);
    CREATE INDEX records_version ON records(scope, version);
    CREATE INDEX records_slot ON records(scope, slot) WHERE slot != '';

    CREATE TABLE edges(
        source INTEGER NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, weight REAL NOT NULL,
        PRIMARY KEY(source, kind, target)) WITHOUT ROWID;
    CREATE INDEX edges_target ON edges(target);

    CREATE TABLE vectors(
        model TEXT NOT NULL, record INTEGER NOT NULL, unit INTEGER NOT NULL, hash BLOB NOT NULL,
        vector BLOB NOT NULL, PRIMARY KEY(record, model, unit)) WITHOUT ROWID;
    CREATE INDEX vectors_hash ON vectors(model, hash);

    CREATE TABLE keys(
        scope INTEGER NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY(scope, key)
    ) WITHOUT ROWID;
    CREATE INDEX keys_record ON keys(record);

    -- how often a record was part of an answer: not history, so not in the log
    CREATE TABLE uses(record TEXT PRIMARY KEY, count INTEGER NOT NULL, last REAL NOT NULL) WITHOUT ROWID;
    """,
    """
    -- what recipes derived from records: a cache of thought, not history, so not in the log.
    -- body is NULL where a trace was dropped, so that other processes see it go
    CREATE TABLE traces(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, recipe TEXT NOT NULL, key TEXT NOT NULL,
        body TEXT, made_by TEXT NOT NULL, model TEXT NOT NULL, dim INTEGER NOT NULL, vectors BLOB,
        UNIQUE(scope, recipe, key));
    CREATE INDEX traces_since ON traces(scope, recipe, seq);
    CREATE TABLE trace_sources(
        trace INTEGER NOT NULL, place INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY(trace, place)
    ) WITHOUT ROWID;
    CREATE INDEX trace_sources_record ON trace_sources(record);
    """,
    """
    -- a recipe's index as of trace `seq`: a copy that opens quickly, and is made again where it is missing
    CREATE TABLE snapshots(
        scope INTEGER NOT NULL, recipe TEXT NOT NULL, seq INTEGER NOT NULL, model TEXT NOT NULL,
        traces TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(scope, recipe));
    """,
)
