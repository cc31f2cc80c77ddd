// The page of one job: starts it, follows it through reloads and restarts, and shows how it ended.

import { tellStarted } from './analytics.js';
import { Problem, send } from './api.js';
import { backoff, follow, pause } from './live.js';
import { drop, original } from './originals.js';
import { showFailed, showFinished } from './result.js';
import * as sessions from './sessions.js';
import { say, showState } from './states.js';
import { Running } from './running.js';

const NEARLY_NOTHING = 700; // milliseconds; a picture that is ready is shown without a flash of one that is not
const jobId = (location.pathname.split('/')[2] || '').toLowerCase();
const session = sessions.find(jobId);
const working = new Running(jobId);
let following = null; // the AbortController of the connection under way
let showing = null; // the timer after which the page shows that it is at work

for (const button of document.querySelectorAll('[data-forget]')) button.addEventListener('click', forget);
document.getElementById('retry').addEventListener('click', retry);
// A page that comes back from the browser's cache has lost its connection without a word.
addEventListener('pageshow', (event) => event.persisted && session && watch());
addEventListener('pagehide', () => following?.abort());

if (!session) {
  showState('no-session');
} else {
  working.lay(await original(jobId));
  showing = setTimeout(() => working.show(), session.ended ? NEARLY_NOTHING : 0);
  try {
    await start();
    watch();
  } catch (problem) {
    giveUp(problem);
  }
}

/** Ask for the run. Another tab, or this one before a reload, may have done so: then there is only to watch. */
async function start() {
  for (let failures = 1; ; failures += 1) {
    try {
      const response = await send('/api/process', { method: 'POST', token: session.token, body: { uploadId: jobId } });
      const { workflowRunId } = await response.json();
      working.link(true);
      sessions.note(jobId, { startedAt: Date.now() });
      tellStarted(jobId, workflowRunId, session.token);
      return;
    } catch (error) {
      if (error instanceof Problem && error.status === 409) return;
      if (error instanceof Problem && !error.passing) throw error;
      working.link(false);
      await pause(Math.max(error.retryAfter || 0, backoff(failures)));
    }
  }
}

async function watch() {
  following?.abort();
  const mine = (following = new AbortController());
  try {
    await follow(jobId, session.token, {
      signal: mine.signal,
      onLink: (up) => working.link(up),
      onStatus: (status) => !mine.signal.aborted && show(status),
    });
  } catch (problem) {
    if (!mine.signal.aborted) giveUp(problem);
  }
}

function show(status) {
  clearTimeout(showing);
  const ended = status.status === 'completed' || status.status === 'failed';
  if (ended) {
    working.rest();
    sessions.note(jobId, { ended });
  }
  switch (status.status) {
    case 'completed':
      return showFinished(status, session);
    case 'failed':
      return showFailed(status);
    default:
      return working.update(status);
  }
}

async function retry() {
  const button = document.getElementById('retry');
  const trouble = document.getElementById('retry-trouble');
  if (button.disabled) return;
  button.disabled = true;
  trouble.hidden = true;
  try {
    await send(`/api/process/${jobId}/retry`, { method: 'POST', token: session.token });
    sessions.note(jobId, { startedAt: Date.now(), stage: null, ended: false });
    working.again();
    say('Trying again.');
    watch();
  } catch (error) {
    if (error instanceof Problem && error.status === 409) {
      watch(); // another tab was faster, or it cannot be tried again after all: show how things are
    } else {
      trouble.textContent = error instanceof Problem ? error.detail : 'There is no connection just now. Please try again.';
      trouble.hidden = false;
    }
  } finally {
    button.disabled = false;
  }
}

function giveUp(problem) {
  clearTimeout(showing);
  working.rest();
  if (problem.status === 401) return showState('no-session');
  if (problem.status === 404) return showState('unknown');
  const message = problem.detail || 'Something went wrong in this page. Please reload it.';
  return showFailed({ error: { code: problem.code || 'PAGE', message, retryable: false } });
}

async function forget() {
  following?.abort();
  sessions.forget(jobId);
  await drop(jobId);
  location.assign('/');
}
