// `processing_started`, told to PostHog where the gateway has a key for it. The server tells it too, under the same
// uuid, so that it counts once. A session is named by a hash of a hash of its token: nobody finds the way back.

import { config } from './config.js';

const OCCURRENCES = '3f1c9f0e-6a0b-4c51-8d1e-0a5d0a2f7c11'; // the namespace that the analytics service uses
const VERSION_OF_START = 2; // an upload's events: 1 is its registration, 2 its start

export async function tellStarted(jobId, workflowRunId, token) {
  // Hashing needs https or localhost; a page from anywhere else tells nothing.
  if (!config.posthogApiKey || !crypto.subtle) return;
  try {
    const occurrence = {
      api_key: config.posthogApiKey,
      event: 'processing_started',
      distinct_id: await distinctId(token),
      uuid: await uuid5(OCCURRENCES, `${jobId}:${VERSION_OF_START}`),
      timestamp: new Date().toISOString(),
      properties: { upload_id: jobId, workflow_run_id: workflowRunId, attempt: 1, $process_person_profile: false },
    };
    // no-cors: nothing of the answer is read. keepalive: it goes out even if the tab is closed now.
    await fetch(`${config.posthogHost}/i/v0/e/`, {
      method: 'POST',
      mode: 'no-cors',
      keepalive: true,
      credentials: 'omit',
      body: JSON.stringify(occurrence),
    });
  } catch {
    // Blocked or offline: the server's own count stands.
  }
}

export async function distinctId(token) {
  return (await sha256(await sha256(token))).slice(0, 32);
}

export async function uuid5(namespace, name) {
  const space = namespace.replaceAll('-', '').match(/../g).map((pair) => parseInt(pair, 16));
  const bytes = new Uint8Array([...space, ...new TextEncoder().encode(name)]);
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-1', bytes)).slice(0, 16);
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  return hex(hash).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

async function sha256(text) {
  return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
