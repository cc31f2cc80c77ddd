// The front page: a photo and an e-mail in, an upload and its key out, then on to the page that follows it.

import { waitAskedFor } from './api.js';
import { config } from './config.js';
import { keep, original, shrink } from './originals.js';
import * as sessions from './sessions.js';

const $ = (id) => document.getElementById(id);
const form = $('form');
const drop = $('drop');
const photoInput = $('photo');
const emailInput = $('email');
const MEGABYTE = 1024 * 1024;
const FORMATS = ['image/jpeg', 'image/png', 'image/webp', 'image/avif'];

let photo = null; // {file, small}: what is to be sent, and how it is shown
let sending = null; // the XMLHttpRequest under way

photoInput.addEventListener('change', () => photoInput.files[0] && choose(photoInput.files[0]));
form.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
$('cancel').addEventListener('click', () => sending?.abort());
emailInput.addEventListener('input', () => complain(emailInput, ''));
acceptDrops();
acceptPastes();
showEarlier();
addEventListener('pageshow', (event) => event.persisted && location.reload());
if (photoInput.files[0]) choose(photoInput.files[0]); // some browsers keep it over a reload
if (!sessions.canRemember()) {
  refuse('This browser lets the page keep nothing, so you could not come back to your picture. Allow site data for it, or leave the private window.');
  form.querySelector('button[type=submit]').disabled = true;
}

async function choose(file) {
  if (sending) return;
  hideRefusal();
  const wrong = wrongWith(file);
  photo = wrong ? null : { file, small: null };
  complain(photoInput, wrong);
  show(null, file.name);
  if (wrong) return clearChoice();
  say(`${file.name} is chosen.`);
  const chosen = photo;
  chosen.small = await shrink(file);
  if (photo === chosen) show(chosen.small, file.name);
}

/** What can be known before it is sent; the rest the gateway says. */
function wrongWith(file) {
  if (file.size === 0) return 'This file is empty.';
  if (file.size > config.maxImageBytes) {
    const [size, most] = [file.size, config.maxImageBytes].map((bytes) => Math.ceil(bytes / MEGABYTE));
    return `This file has ${size} MB; at most ${most} MB can be sent.`;
  }
  if (file.type && !FORMATS.includes(file.type)) {
    return 'This is not a picture in JPEG, PNG, WebP or AVIF format. Save it as a JPEG and choose that.';
  }
  return '';
}

function show(small, name) {
  const image = $('chosen');
  if (image.src) URL.revokeObjectURL(image.src);
  image.removeAttribute('src');
  image.hidden = !small;
  drop.classList.toggle('filled', Boolean(photo));
  drop.classList.toggle('shown', Boolean(small));
  $('drop-title').textContent = photo ? name : 'Choose a photo';
  $('drop-more').textContent = photo ? 'Choose another' : 'or drop it here';
  if (small) {
    image.src = URL.createObjectURL(small);
    image.alt = `Your photo, ${name}`;
  }
}

function clearChoice() {
  photoInput.value = '';
}

function submit() {
  if (sending) return;
  hideRefusal();
  const email = emailInput.value.trim();
  complain(photoInput, photo ? '' : photoError() || 'Choose a photo first.');
  complain(emailInput, emailInput.validity.valid && email ? '' : 'This needs to be an e-mail address, like ann@example.com.');
  const wrong = form.querySelector('[aria-invalid=true]');
  if (wrong) return wrong.focus();
  upload(photo, email);
}

const photoError = () => $('photo-error').textContent;

function upload(chosen, email) {
  const body = new FormData();
  body.append('image', chosen.file, chosen.file.name || 'photo');
  body.append('email', email);
  // XMLHttpRequest, since fetch does not tell how much has been sent.
  const request = new XMLHttpRequest();
  sending = request;
  request.open('POST', '/api/uploads');
  request.responseType = 'json';
  request.upload.onprogress = (event) => event.lengthComputable && showSent(event.loaded / event.total);
  request.onload = () => answered(request, chosen);
  request.onerror = () => stopped('The connection broke off before your photo was handed over. Please try again.');
  request.onabort = () => stopped('');
  setBusy(true);
  showSent(0);
  say('Handing over your photo.');
  request.send(body);
}

async function answered(request, chosen) {
  const answer = request.response || {};
  if (request.status === 201) {
    const session = { token: answer.sessionToken, name: chosen.file.name, at: Date.now() };
    if (!sessions.note(answer.uploadId, session)) {
      return stopped('This browser has no room left for the key to your picture. Make some, and try again.');
    }
    if (chosen.small) await keep(answer.uploadId, chosen.small);
    return location.assign(`/processing/${answer.uploadId}`);
  }
  const wait = Math.ceil(waitAskedFor(request.getResponseHeader('Retry-After')) / 1000);
  const again = request.status === 429 && wait ? ` Please try again in ${wait} ${wait === 1 ? 'second' : 'seconds'}.` : '';
  const why = (answer.detail || 'Something went wrong on our side. Please try again.') + again;
  if ((answer.code || '').startsWith('IMAGE_') || answer.code === 'UNSUPPORTED_IMAGE') {
    stopped('');
    complain(photoInput, why);
    return photoInput.focus();
  }
  return stopped(why);
}

function stopped(why) {
  sending = null;
  setBusy(false);
  if (why) refuse(why);
  else form.querySelector('button[type=submit]').focus();
}

function setBusy(busy) {
  form.classList.toggle('busy', busy);
  form.setAttribute('aria-busy', String(busy));
  $('ready').hidden = busy;
  $('sending').hidden = !busy;
  photoInput.disabled = emailInput.disabled = busy;
  if (busy) $('cancel').focus();
}

function showSent(part) {
  const percent = Math.floor(part * 100);
  $('sending-bar').setAttribute('aria-valuenow', percent);
  $('sending-bar').style.setProperty('--part', part);
  $('sending-percent').textContent = `${percent}%`;
  $('sending-what').textContent = part < 1 ? 'Handing it over…' : 'Having a first look at it…';
}

function complain(input, why) {
  $(`${input.id}-error`).textContent = why;
  input.setAttribute('aria-invalid', String(Boolean(why)));
  if (input === photoInput) drop.classList.toggle('wrong', Boolean(why));
}

function refuse(why) {
  $('refusal').textContent = why;
  $('refusal').hidden = false;
  $('refusal').focus();
}

function hideRefusal() {
  $('refusal').hidden = true;
}

function say(words) {
  $('spoken').textContent = words;
}

function acceptDrops() {
  let depth = 0;
  const over = (event) => [...(event.dataTransfer?.types || [])].includes('Files');
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle('over', depth > 0);
  };
  addEventListener('dragenter', (event) => over(event) && mark(1));
  addEventListener('dragleave', (event) => over(event) && mark(-1));
  // Anywhere on the page: a photo dropped beside the frame must not replace the page.
  addEventListener('dragover', (event) => over(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    if (!over(event)) return;
    event.preventDefault();
    mark(-depth);
    const [file] = event.dataTransfer.files;
    if (file) choose(file);
  });
}

function acceptPastes() {
  addEventListener('paste', (event) => {
    const [file] = event.clipboardData?.files || [];
    if (file) choose(file);
  });
}

async function showEarlier() {
  const earlier = sessions.all().slice(0, 4);
  $('earlier').hidden = earlier.length === 0;
  const when = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  for (const { uploadId, name, at } of earlier) {
    const link = document.createElement('a');
    link.href = `/processing/${uploadId}`;
    const words = document.createElement('span');
    const title = document.createElement('strong');
    title.textContent = name || 'A photo';
    const time = document.createElement('span');
    time.textContent = when.format(at);
    words.append(title, time);
    const thumb = document.createElement('span');
    thumb.className = 'thumb';
    link.append(thumb, words);
    const item = document.createElement('li');
    item.append(link);
    $('earlier-list').append(item);
    const small = await original(uploadId);
    if (!small) continue;
    const image = document.createElement('img');
    image.alt = '';
    image.src = URL.createObjectURL(small);
    thumb.append(image);
  }
}
