// The gateway's JSON, and its refusals as exceptions. The session token travels in a header, never in an address.

/** A refusal of the gateway: `code` is stable, `detail` is for a person, `retryAfter` is in milliseconds. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || 'Something went wrong on our side.');
    this.status = status;
    this.code = body.code || '';
    this.detail = this.message;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may well succeed later. */
  get passing() {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** Send a request; resolves with the response where it is 2xx or 304, throws Problem, or TypeError without a network. */
export async function send(path, { method = 'GET', token, body, headers = {}, signal } = {}) {
  const response = await fetch(path, {
    method,
    // no-store: the 304 that is asked for with If-None-Match is wanted here, not in the browser's cache.
    cache: 'no-store',
    credentials: 'omit',
    signal,
    headers: {
      ...(token && { 'X-Session-Token': token }),
      ...(body && { 'Content-Type': 'application/json' }),
      ...headers,
    },
    body: body && JSON.stringify(body),
  });
  if (response.ok || response.status === 304) return response;
  throw new Problem(response.status, await refusal(response), waitAskedFor(response.headers.get('Retry-After')));
}

/** Read a Retry-After, in seconds or as a date, as milliseconds from now; 0 where there is none. */
export function waitAskedFor(value) {
  if (!value) return 0;
  const seconds = Number(value);
  const wait = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, wait) || 0;
}

async function refusal(response) {
  try {
    return (await response.json()) || {};
  } catch {
    return {}; // a proxy's page, perhaps
  }
}
