// The section of a run under way: the print in the tray, the bar, the four stages.

import { STAGES, clock, progressOf, remaining, remainingInWords } from './progress.js';
import * as sessions from './sessions.js';
import { say, setTitle, showState } from './states.js';

const $ = (id) => document.getElementById(id);
const TICK = 250; // milliseconds
const BEFORE_ALARM = 1_200; // milliseconds; a connection that is back sooner was never missed

export class Running {
  constructor(jobId) {
    this.jobId = jobId;
    this.status = null;
    this.stage = null;
    this.timer = null;
    this.alarm = null;
    this.connected = true;
    this.items = STAGES.map(stageItem);
    $('stages').append(...this.items);
  }

  /** Lay the original into the tray, where this browser has it. */
  lay(photo) {
    if (!photo) return;
    $('latent').src = URL.createObjectURL(photo);
    $('latent').hidden = false;
  }

  /** Show the section before the gateway has said anything: where this browser last saw the run, or at its beginning. */
  show() {
    const [attempt, stage] = (sessions.find(this.jobId)?.stage || '').split('/');
    if (stage) this.update({ status: 'processing', stage, progress: 0, attempt: Number(attempt) });
    else this.update({ status: 'pending', stage: 'validating', progress: 0, attempt: 0 });
  }

  /** Show a status. When its stage began is remembered, so that a reload does not set the clock back. */
  update(status) {
    const known = sessions.find(this.jobId) || {};
    const stage = `${status.attempt}/${status.stage}`;
    const changed = this.stage !== stage;
    this.status = status;
    this.stage = stage;
    this.startedAt = known.startedAt || known.at || Date.now();
    this.stageAt = known.stage === stage ? known.stageAt : this.beganAt(status);
    if (known.stage !== stage && known.token && status.attempt) {
      sessions.note(this.jobId, { stage, stageAt: this.stageAt });
    }
    showState('working');
    if (changed) this.enter(status.stage);
    this.timer ??= setInterval(() => this.tick(), TICK);
    this.tick();
  }

  /** Give when a stage began that this browser has not seen before; the gateway's clock may differ from ours. */
  beganAt({ updatedAt }) {
    return Math.min(Date.now(), Math.max(this.startedAt, Date.parse(updatedAt) || Date.now()));
  }

  /** Begin afresh, after a failure. */
  again() {
    this.stage = null;
    this.status = null;
    showState('working');
    for (const item of this.items) mark(item, 'todo');
    setBar(0, 'starting again');
    $('left').textContent = '';
  }

  rest() {
    clearInterval(this.timer);
    clearTimeout(this.alarm);
    this.timer = this.alarm = null;
    $('link-state').hidden = true;
  }

  /** Say that there is no connection, if it stays away for a moment. */
  link(up) {
    if (up === this.connected) return;
    this.connected = up;
    clearTimeout(this.alarm);
    if (up) {
      if (!$('link-state').hidden) say('Connected again.');
      $('link-state').hidden = true;
    } else {
      this.alarm = setTimeout(() => {
        $('link-state').hidden = false;
        say('Connection lost. Reconnecting.');
      }, BEFORE_ALARM);
    }
  }

  enter(name) {
    const at = STAGES.findIndex((stage) => stage.name === name);
    this.items.forEach((item, index) => mark(item, index < at ? 'done' : index === at ? 'now' : 'todo'));
    if (this.status.status === 'processing' && at >= 0) {
      say(`Step ${at + 1} of ${STAGES.length}: ${STAGES[at].title}. ${STAGES[at].now}`);
    }
  }

  tick() {
    const { stage, progress } = this.status;
    const seconds = this.status.status === 'processing' ? (Date.now() - this.stageAt) / 1000 : 0;
    const shown = Math.floor(this.status.status === 'processing' ? progressOf(stage, seconds, progress) : progress);
    const title = STAGES.find((one) => one.name === stage)?.title ?? 'Running';
    const left = remainingInWords(remaining(stage, seconds));
    setBar(shown, `${shown} percent, ${title.toLowerCase()}, ${left}`);
    if ($('left').textContent !== left) $('left').textContent = left;
    $('elapsed').textContent = clock(Date.now() - this.startedAt);
    setTitle(`${shown}% ${title}`);
  }
}

function setBar(percent, words) {
  const bar = $('bar');
  bar.setAttribute('aria-valuenow', percent);
  bar.setAttribute('aria-valuetext', words);
  document.documentElement.style.setProperty('--part', percent / 100);
  $('percent').textContent = `${percent}%`;
}

function stageItem({ title, now }) {
  const item = document.createElement('li');
  const state = document.createElement('span');
  state.className = 'visually-hidden';
  const name = document.createElement('strong');
  name.textContent = title;
  const words = document.createElement('p');
  words.textContent = now;
  item.append(state, name, words);
  mark(item, 'todo');
  return item;
}

function mark(item, state) {
  item.className = state;
  item.querySelector('span').textContent = { done: 'Done: ', now: 'Now: ', todo: 'To come: ' }[state];
  if (state === 'now') item.setAttribute('aria-current', 'step');
  else item.removeAttribute('aria-current');
}
