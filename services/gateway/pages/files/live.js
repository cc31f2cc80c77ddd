// A job's status as it changes: as it stands, then a stream of what is new, or long polls where no stream comes through,
// and the same again after a break.

import { Problem, send } from './api.js';

const FIRST_BYTE = 15_000; // milliseconds; a stream that stays silent for so long is held back by something between
const SILENCE = 45_000; // milliseconds; a stream that falls silent for so long is dead
const LONG_POLL = 20; // seconds
const POLL_GAP = 1_500; // milliseconds between polls
const LONGEST_WAIT = 8_000; // milliseconds between attempts to reconnect

class NoStreamError extends Error {}

/**
 * Call `onStatus` with each status until the run has ended, and `onLink` with whether there is a connection.
 * Returns when the run has ended or `signal` aborts; throws Problem where the gateway says that this will never work.
 */
export async function follow(jobId, token, { onStatus, onLink, signal }) {
  const path = `/api/status/${encodeURIComponent(jobId)}`;
  const place = { etag: null, eventId: null };
  let streams = true;
  let failures = 0;
  const tell = (status) => {
    failures = 0;
    onLink(true);
    onStatus(status);
    return status.status === 'completed' || status.status === 'failed';
  };
  while (!signal.aborted) {
    let asked = 0;
    try {
      // First as it stands: a stream tells the whole history, and an earlier attempt's failure is no end.
      const streaming = streams && place.eventId !== null;
      if (await (streaming ? stream : poll)(path, token, place, tell, signal)) return;
      if (!streaming) {
        failures = 0;
        onLink(true);
        if (!streams || place.eventId === null) await pause(POLL_GAP, signal);
        continue;
      }
      failures += 1; // a stream that ends before its run does: the gateway is going away
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof NoStreamError) {
        streams = false;
        continue;
      }
      if (error instanceof Problem && !error.passing) throw error;
      asked = error instanceof Problem ? error.retryAfter : 0;
      failures += 1;
    }
    onLink(false);
    await pause(Math.max(asked, backoff(failures)), signal);
  }
}

/** Wait a while, or until the network or the person is back. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      removeEventListener('online', wake);
      removeEventListener('visibilitychange', seen, true);
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    const seen = () => document.visibilityState === 'visible' && wake();
    const timer = setTimeout(wake, milliseconds);
    addEventListener('online', wake);
    addEventListener('visibilitychange', seen, true);
    signal?.addEventListener('abort', wake);
  });
}

/** Give the wait before another try, in milliseconds: doubling, bounded, and not the same for everybody. */
export function backoff(failures) {
  return Math.min(LONGEST_WAIT, 250 * 2 ** failures) * (0.75 + Math.random() / 2);
}

/** Read server-sent events: give a function that takes text as it comes and returns the events that are complete. */
export function eventReader() {
  let rest = '';
  let event = { id: undefined, data: [] };
  return (text) => {
    const complete = [];
    rest += text;
    // A carriage return at the end may be half of a line's end.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (event.data.length) complete.push({ id: event.id, data: event.data.join('\n') });
        event = { id: event.id, data: [] };
        continue;
      }
      const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (name === 'data') event.data.push(value ?? '');
      if (name === 'id') event.id = value ?? '';
    }
    return complete;
  };
}

async function stream(path, token, place, tell, signal) {
  const hang = new AbortController();
  const stop = () => hang.abort();
  signal.addEventListener('abort', stop);
  let heard = false;
  let timer = setTimeout(stop, FIRST_BYTE);
  try {
    const response = await streamed(path, token, place, hang.signal);
    const read = eventReader();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      heard = true;
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE);
      for (const event of read(value)) {
        place.eventId = event.id ?? place.eventId;
        const status = statusIn(event.data);
        if (status && tell(status)) return true;
      }
    }
  } catch (error) {
    if (!heard && hang.signal.aborted && !signal.aborted) throw new NoStreamError();
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    hang.abort();
  }
}

async function streamed(path, token, place, signal) {
  const headers = { Accept: 'text/event-stream', 'Last-Event-ID': place.eventId };
  try {
    const response = await send(`${path}/events`, { token, headers, signal });
    if (response.body && response.headers.get('Content-Type')?.startsWith('text/event-stream')) return response;
  } catch (error) {
    const noRoute = error instanceof Problem && error.status === 404 && error.code !== 'UPLOAD_NOT_FOUND';
    const notOffered = error instanceof Problem && [405, 406, 501].includes(error.status);
    if (!noRoute && !notOffered) throw error;
  }
  throw new NoStreamError();
}

async function poll(path, token, place, tell, signal) {
  const headers = place.etag ? { 'If-None-Match': place.etag } : {};
  const response = await send(place.etag ? `${path}?wait=${LONG_POLL}` : path, { token, headers, signal });
  place.etag = response.headers.get('ETag') ?? place.etag;
  // A status' tag is the number of its last event: what a stream is asked to go on after.
  place.eventId = /^(?:W\/)?"(\d+)"$/.exec(place.etag)?.[1] ?? place.eventId;
  return response.status !== 304 && tell(await response.json());
}

function statusIn(text) {
  try {
    const found = JSON.parse(text);
    return found && found.jobId && found.status ? found : null;
  } catch {
    return null;
  }
}
