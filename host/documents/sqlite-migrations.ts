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
  `
]
