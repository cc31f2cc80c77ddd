// How a run ended: the preview beside the original, or what went wrong and what can be done.

import { send } from './api.js';
import { original } from './originals.js';
import { say, showState } from './states.js';

const $ = (id) => document.getElementById(id);

export async function showFinished(status, session) {
  const photo = await original(status.jobId);
  if (photo) $('original').src = URL.createObjectURL(photo);
  $('before').hidden = !photo;
  $('pair').classList.toggle('alone', !photo);
  $('after').hidden = !photo;
  $('preview').onerror = () => tryFreshLink(status, session);
  $('preview').onload = () => ($('preview-trouble').hidden = true);
  $('preview').src = status.previewUrl;
  $('download').href = status.previewUrl;
  $('download').download = fileName(session.name);
  $('download').onclick = (event) => {
    event.preventDefault();
    download(status, session);
  };
  showState('finished');
  say('Your picture is ready.');
}

export function showFailed({ error, workflowRunId }) {
  $('failed-why').textContent = error.message;
  $('failed-next').textContent = error.retryable
    ? 'This may pass. If you try again, we go on from where it stopped.'
    : 'This photo cannot be tried again. Another one may work.';
  $('retry').hidden = !error.retryable;
  document.querySelector('#failed a.button').classList.toggle('quiet', error.retryable);
  $('retry-trouble').hidden = true;
  $('reference').textContent = workflowRunId ? `If you write to us: ${error.code}, ${workflowRunId}` : '';
  showState('failed');
  say(`This did not work out. ${error.message}`);
}

/** Links to pictures live for minutes: one that has run out is asked for anew, once. */
async function tryFreshLink(status, session) {
  $('preview').onerror = () => {
    $('preview-trouble').textContent = 'The preview cannot be loaded just now. Reload the page to try again.';
    $('preview-trouble').hidden = false;
  };
  $('preview').src = await freshLink(status, session);
}

async function freshLink(status, session) {
  try {
    const response = await send(`/api/results/${status.resultId}`, { token: session.token });
    return (await response.json()).previewUrl;
  } catch {
    return status.previewUrl;
  }
}

/** Save the preview under a name of its own; where the object store forbids reading it from here, open it instead. */
async function download(status, session) {
  const link = document.createElement('a');
  link.href = await freshLink(status, session);
  link.rel = 'noopener noreferrer';
  try {
    const response = await fetch(link.href, { credentials: 'omit' });
    if (!response.ok) throw new Error(response.statusText);
    link.href = URL.createObjectURL(await response.blob());
    link.download = fileName(session.name);
  } catch {
    link.target = '_blank';
  }
  link.click();
}

function fileName(name) {
  const stem = (name || 'photo').replace(/\.[^.]*$/, '').replace(/[^\p{L}\p{N} _-]+/gu, '-').slice(0, 60) || 'photo';
  return `${stem}-darkroom.jpg`;
}
