-- What operators did that is no event of an upload: who, when, what and why.
CREATE TABLE operator_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    what text NOT NULL,
    why text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);

-- A replay of many runs. `state` is running, stopped (by itself), cancelled (by a person) or done; the job is over once
-- `ended_at` is set, which is when the last run that it set going has ended. A dispatcher works on it while it holds the
-- lease.
CREATE TABLE replay_jobs (
    id uuid PRIMARY KEY,
    state text NOT NULL DEFAULT 'running',
    why text,
    requested_by text NOT NULL,
    reason text NOT NULL,
    selection jsonb NOT NULL,
    from_stage text,
    total integer NOT NULL,
    rate double precision NOT NULL,
    at_once integer NOT NULL,
    stop_at double precision NOT NULL,
    batch integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    lease_holder text,
    lease_until timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX replay_jobs_open_idx ON replay_jobs (created_at, id) WHERE ended_at IS NULL;
CREATE INDEX replay_jobs_created_at_id_idx ON replay_jobs (created_at, id);

-- One run of a job. `attempt` is the one that the replay makes of it: a run that has it already was replayed. `state` is
-- waiting, requested, completed, failed, skipped (it cannot be replayed) or cancelled (the job ended before its turn);
-- `code` says why it failed or was skipped.
CREATE TABLE replay_items (
    job_id uuid NOT NULL REFERENCES replay_jobs (id),
    position integer NOT NULL,
    batch integer NOT NULL,
    upload_id uuid NOT NULL,
    workflow_run_id uuid NOT NULL,
    attempt integer NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    code text,
    PRIMARY KEY (job_id, position)
);
CREATE INDEX replay_items_waiting_idx ON replay_items (job_id, batch, position) WHERE state = 'waiting';
CREATE INDEX replay_items_requested_idx ON replay_items (job_id) WHERE state = 'requested';
