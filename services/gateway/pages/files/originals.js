// The photo as it was chosen, made small, kept in this browser to be shown beside the result. Only ever an extra: where
// the browser keeps nothing, there is nothing to show, and that is all.

const LONGEST = 1280; // pixels
const KEPT = 12; // photos

/** Give a small upright JPEG of a photo, or null where this browser cannot read it. */
export async function shrink(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const paper = canvas.getContext('2d');
    paper.fillStyle = '#fff';
    paper.fillRect(0, 0, canvas.width, canvas.height);
    paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.86));
  } catch {
    return null;
  }
}

export async function keep(uploadId, photo) {
  await quietly('readwrite', async (photos) => {
    await done(photos.put({ uploadId, photo, at: Date.now() }));
    const kept = await done(photos.getAll());
    kept.sort((one, other) => other.at - one.at);
    for (const old of kept.slice(KEPT)) photos.delete(old.uploadId);
  });
}

export async function original(uploadId) {
  const found = await quietly('readonly', (photos) => done(photos.get(uploadId)));
  return found ? found.photo : null;
}

export async function drop(uploadId) {
  await quietly('readwrite', (photos) => done(photos.delete(uploadId)));
}

async function quietly(mode, work) {
  let database = null;
  try {
    database = await open();
    const change = database.transaction('photos', mode);
    const ended = new Promise((resolve, reject) => {
      change.oncomplete = resolve;
      change.onabort = change.onerror = () => reject(change.error);
    });
    const result = await work(change.objectStore('photos'));
    await ended;
    return result;
  } catch {
    return null;
  } finally {
    if (database) database.close();
  }
}

function open() {
  const request = indexedDB.open('darkroom', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('photos', { keyPath: 'uploadId' });
  return done(request);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('blocked'));
  });
}
