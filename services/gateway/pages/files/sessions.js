// The keys to this browser's pictures, in localStorage: closing the tab and coming back works, other devices see nothing.

const PREFIX = 'darkroom.upload.';
const KEPT_FOR = 30 * 24 * 3600 * 1000; // milliseconds

/** Whether this browser lets the page remember anything. */
export function canRemember() {
  try {
    localStorage.setItem('darkroom.test', '1');
    localStorage.removeItem('darkroom.test');
    return true;
  } catch {
    return false;
  }
}

/** Give what is remembered of an upload: {token, name, at, …}, or null. */
export function find(uploadId) {
  try {
    const session = JSON.parse(localStorage.getItem(PREFIX + uploadId));
    return session && session.token ? session : null;
  } catch {
    return null;
  }
}

/** Remember more of an upload; says whether the browser did. */
export function note(uploadId, more) {
  try {
    localStorage.setItem(PREFIX + uploadId, JSON.stringify({ ...find(uploadId), ...more }));
    return true;
  } catch {
    return false;
  }
}

export function forget(uploadId) {
  localStorage.removeItem(PREFIX + uploadId);
}

/** Give this browser's uploads, the newest first; those of long ago are forgotten. */
export function all() {
  const found = [];
  try {
    for (const key of Object.keys(localStorage).filter((name) => name.startsWith(PREFIX))) {
      const uploadId = key.slice(PREFIX.length);
      const session = find(uploadId);
      if (!session || !(session.at > Date.now() - KEPT_FOR)) forget(uploadId);
      else found.push({ uploadId, ...session });
    }
  } catch {
    return [];
  }
  return found.sort((one, other) => other.at - one.at);
}
