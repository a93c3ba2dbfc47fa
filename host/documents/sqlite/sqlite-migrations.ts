/**
 * What leads to the tables of `documents.sqlite`, for every store that keeps something in that file. A
 * change is one more text at the end.
 *
 * What is asked for by its value is a generated column: its text is the value's JSON, so that 1 and "1",
 * and what SQLite cannot hold in a text, are told apart. Keys are compared byte by byte.
 */
export const documentMigrations: readonly string[] = [
  `
  CREATE TABLE documents (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    rev INTEGER NOT NULL,
    body TEXT NOT NULL,
    movie_id TEXT AS (body -> '$.movie_id') VIRTUAL,
    scene_element TEXT AS (body -> '$.scene_element') VIRTUAL,
    image_id TEXT AS (CASE collection WHEN 'ImageTokens' THEN body -> '$.id' END) VIRTUAL,
    expert TEXT AS (body -> '$.expert') VIRTUAL,
    label TEXT AS (body -> '$.label') VIRTUAL,
    status TEXT AS (body -> '$.status') VIRTUAL,
    file TEXT AS (body -> '$.File') VIRTUAL,
    pipeline_id TEXT AS (body -> '$.pipeline_id') VIRTUAL,
    PRIMARY KEY (collection, key)
  ) STRICT;
  CREATE INDEX documents_by_rev ON documents (rev);
  CREATE INDEX documents_of_movie ON documents (collection, movie_id, key)
    WHERE movie_id IS NOT NULL;
  CREATE INDEX documents_of_image ON documents (collection, image_id, key)
    WHERE image_id IS NOT NULL;
  CREATE INDEX documents_by_status ON documents (collection, status, key)
    WHERE status IS NOT NULL;
  CREATE INDEX documents_by_file ON documents (collection, file, key) WHERE file IS NOT NULL;
  CREATE INDEX documents_of_pipeline ON documents (collection, pipeline_id, key)
    WHERE pipeline_id IS NOT NULL;
  `,
  // Of pipelines: `seen` and `changed` count the changes of one pipeline's movies. `due` is when an item may be
  // claimed, epoch milliseconds: of a running one the end of its lease, NULL for at once.
  `
  CREATE TABLE pipelines (
    num INTEGER PRIMARY KEY,
    key TEXT UNIQUE,
    rev INTEGER NOT NULL,
    body TEXT NOT NULL,
    plan TEXT,
    seen INTEGER NOT NULL DEFAULT 0,
    status TEXT AS (body -> '$.status') VIRTUAL
  ) STRICT;
  CREATE INDEX pipelines_by_status ON pipelines (status, key);
  CREATE TABLE pipeline_movies (
    pipeline INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    movie TEXT NOT NULL,
    body TEXT NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (pipeline, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX pipeline_movies_by_id ON pipeline_movies (pipeline, movie);
  CREATE INDEX pipeline_movies_by_change ON pipeline_movies (pipeline, changed);
  CREATE TABLE pipeline_tasks (
    num INTEGER PRIMARY KEY,
    pipeline INTEGER NOT NULL,
    task TEXT NOT NULL,
    UNIQUE (pipeline, task)
  ) STRICT;
  CREATE TABLE pipeline_items (
    task INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    movie TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    owner TEXT,
    due INTEGER,
    error TEXT,
    expert TEXT,
    expert_version TEXT,
    model_sha256 TEXT,
    extra_params TEXT,
    started_at INTEGER,
    finished_at INTEGER,
    PRIMARY KEY (task, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX pipeline_items_by_state ON pipeline_items (task, state, due, seq);
  `
]
