// How far a run is, and how long it may still take. Pure: the same status and the same clock give the same picture, so
// a reload changes nothing, and neither number ever goes back while a run goes forward.

/** The stages, in order. `typical` is in seconds; `from` is the percentage the gateway says when one begins. */
export const STAGES = [
  {
    name: 'validating', title: 'Checking', typical: 2, from: 5,
    now: 'Making sure that your photo opens and is one we can work from.',
  },
  {
    name: 'generating', title: 'Developing', typical: 75, from: 20,
    now: 'The new picture is being drawn. This is the slow part: usually 60 to 90 seconds.',
  },
  { name: 'storing', title: 'Fixing', typical: 2, from: 80, now: 'Putting the finished picture away safely.' },
  { name: 'watermarking', title: 'Proofing', typical: 3, from: 90, now: 'Making the preview that you will see here.' },
];

const position = (name) => STAGES.findIndex((stage) => stage.name === name);

/** Give the percentage to show for a stage that has gone on for `seconds`; `said` is what the gateway says. */
export function progressOf(name, seconds, said) {
  const at = position(name);
  if (at < 0) return said;
  const { from, typical } = STAGES[at];
  const until = at + 1 < STAGES.length ? STAGES[at + 1].from : 100;
  return Math.max(said, from + (until - from) * share(seconds / typical));
}

/** Give the seconds that are typically left, and whether the stage has outlasted what is typical for it. */
export function remaining(name, seconds) {
  const at = Math.max(0, position(name));
  const later = STAGES.slice(at + 1).reduce((sum, stage) => sum + stage.typical, 0);
  const { typical } = STAGES[at];
  return { seconds: Math.max(0, typical - seconds) + later, late: seconds > 1.25 * typical + 3 };
}

export function remainingInWords({ seconds, late }) {
  if (late) return 'taking a little longer than usual';
  if (seconds > 70) return 'about a minute and a half left';
  if (seconds > 50) return 'about a minute left';
  if (seconds > 35) return 'about 45 seconds left';
  if (seconds > 20) return 'about half a minute left';
  if (seconds > 6) return 'a few more seconds';
  return 'almost there';
}

export function clock(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const two = (number) => String(number).padStart(2, '0');
  return hours ? `${hours}:${two(minutes % 60)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** Straight to nine tenths in the typical time, then ever slower: an estimate must not claim to be done. */
function share(part) {
  if (part <= 1) return 0.9 * Math.max(0, part);
  return 0.9 + 0.08 * (1 - Math.exp(1 - part));
}
