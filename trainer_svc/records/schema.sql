CREATE TABLE IF NOT EXISTS runs (
  run_id TEXT PRIMARY KEY,
  preset TEXT NOT NULL,
  overrides TEXT NOT NULL,             -- JSON object
  seed TEXT NOT NULL,                  -- 64 bits without sign, which SQLite's INTEGER cannot hold
  config TEXT NOT NULL,                -- the resolved preset, JSON
  state TEXT NOT NULL,
  desired TEXT NOT NULL DEFAULT 'run', -- run | pause | cancel: what the run should do at its next boundary
  incarnation INTEGER NOT NULL DEFAULT 0,
  step INTEGER NOT NULL DEFAULT 0,
  total_steps INTEGER NOT NULL,
  created_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL,
  error TEXT NOT NULL DEFAULT '',
  checkpoint_path TEXT NOT NULL DEFAULT '',
  held_out TEXT,                       -- JSON object
  plot_paths TEXT NOT NULL DEFAULT '[]',
  example_before BLOB,                 -- anamnesis.common.v1.Dialogue
  example_after BLOB,
  traced_episodes INTEGER NOT NULL DEFAULT 0,
  general TEXT NOT NULL DEFAULT '{}'   -- JSON: general ability or perplexity to its change
);

CREATE TABLE IF NOT EXISTS events (
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  sequence INTEGER NOT NULL,
  at REAL NOT NULL,
  kind TEXT NOT NULL,                  -- state | progress | step | held_out | notice | alert
  payload TEXT NOT NULL,               -- JSON
  PRIMARY KEY (run_id, sequence)
) WITHOUT ROWID;

-- One row a published request, written before the request is.
CREATE TABLE IF NOT EXISTS requests (
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  request_id TEXT NOT NULL,
  purpose TEXT NOT NULL,               -- train | evaluate | context | sample
  group_index INTEGER NOT NULL,
  sample_index INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  expires_at REAL NOT NULL,
  sent INTEGER NOT NULL DEFAULT 0,     -- 1 once the log has acknowledged it
  outcome TEXT NOT NULL DEFAULT 'outstanding', -- outstanding | trained | used | dropped
  reason TEXT NOT NULL DEFAULT '',
  checkpoint INTEGER,                  -- the first checkpoint that contains the outcome
  PRIMARY KEY (run_id, request_id)
) WITHOUT ROWID;

-- Second deliveries, by their place in the log, so that reading them again counts them once.
CREATE TABLE IF NOT EXISTS duplicates (
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  partition INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  purpose TEXT NOT NULL,
  PRIMARY KEY (run_id, partition, offset)
) WITHOUT ROWID;
