// Which of a page's sections is seen, where the focus is, what the title says and what is read out.

const SECTIONS = ['working', 'finished', 'failed', 'no-session', 'unknown'];
const TITLES = {
  finished: 'Ready',
  failed: 'Did not work out',
  'no-session': 'No key here',
  unknown: 'Nothing here',
};

/** Show one section. The focus goes to its heading where the change would otherwise have taken the focus away. */
export function showState(name) {
  const section = document.getElementById(name);
  if (!section.hidden) return;
  const focused = document.activeElement;
  const lost = focused === document.body || SECTIONS.some((id) => document.getElementById(id).contains(focused));
  const first = SECTIONS.every((id) => document.getElementById(id).hidden);
  for (const id of SECTIONS) document.getElementById(id).hidden = id !== name;
  if (name in TITLES) setTitle(TITLES[name]);
  if (lost && !first) section.querySelector('h1').focus({ preventScroll: true });
  if (!first) scrollTo({ top: 0 });
}

export function setTitle(words) {
  const title = `${words} · darkroom`;
  if (document.title !== title) document.title = title;
}

/** Have a screen reader say something, once it has said what it is saying. */
export function say(words) {
  const spoken = document.getElementById('spoken');
  if (spoken.textContent !== words) spoken.textContent = words;
}
