// Records: browsing, searching, and following the tail.

import * as format from './format.js';
import {address, get, topicPath, why} from './api.js';
import {by, make, roving, say, tell} from './dom.js';

const preview = 200; // bytes of key and value in a row
const whole = 65536; // and of a record that is opened
const rowsAtMost = 300; // while following
const again = 1000; // ms until a stream that was refused is asked for again

const form = by('browse');
const list = by('records');
const settle = roving(list);

let topic = '';
let request = 0; // the latest; answers to others come too late
let searched; // what the rows are the answer to
let next = ''; // where more of it is
let end = ''; // where following begins

// show turns to another topic.
export function show(name) {
  topic = name;
  stopFollowing();
  form.reset();
  form.partition.replaceChildren(make('option', {value: ''}, 'all'));
  if (name !== '') search();
}

// partitions tells how many there are to choose from.
export function partitions(n) {
  for (let i = form.partition.options.length - 1; i < n; i++) form.partition.add(make('option', {value: i}, String(i)));
}

function beginChanged() {
  for (const field of form.querySelectorAll('[data-begin]')) {
    field.hidden = field.dataset.begin !== form.begin.value;
    field.querySelector('input').disabled = field.hidden;
  }
}

// query is what the form asks for.
function query() {
  const q = {partition: form.partition.value, key: form.key.value, contains: form.contains.value, preview};
  if (form.begin.value === 'newest') q.order = 'newest';
  if (form.begin.value === 'offset') q.offset = form.offset.value;
  if (form.begin.value === 'time') q.time = new Date(form.time.value).getTime();
  return q;
}

async function search() {
  stopFollowing();
  list.replaceChildren();
  next = end = '';
  searched = query();
  await more();
}

// more adds the next rows.
async function more() {
  const mine = ++request;
  const from = topic;
  tell(by('records-error'), '');
  say(by('found'), 'Searching …');
  const focused = document.activeElement === by('more'); // a disabled button loses it
  by('more').disabled = true;
  let answer;
  try {
    answer = await get(topicPath(from) + '/records', {...searched, at: next});
  } catch (err) {
    if (mine !== request) return;
    say(by('found'), '');
    tell(by('records-error'), why(err));
    by('more').disabled = false;
    return;
  }
  if (mine !== request) return;
  const rows = answer.records.map(row);
  list.append(...rows);
  settle();
  end ||= answer.end;
  next = answer.next;
  by('more').hidden = next === '';
  by('more').disabled = false;
  if (focused) (rows[0]?.firstChild ?? by('more')).focus();
  const failed = (answer.failed ?? []).map((f) => `partition ${f.partition}: ${f.error}`);
  tell(by('records-error'), failed.join('; '));
  say(by('found'), found(answer));
}

function found(answer) {
  const n = list.children.length;
  const looked = searched.key || searched.contains ? `, ${format.plural(answer.scanned, 'record')} looked at` : '';
  if (n === 0 && next === '') return searched.key || searched.contains ? `Nothing found${looked}.` : 'There are no records here.';
  return `${format.plural(n, 'record')}${next === '' ? ', which is all' : ' so far'}${looked}.`;
}

// bytesOf is a key or a value as text: null is told from the empty one.
function bytesOf(b) {
  if (b === null || b === undefined) return ['null', true];
  if (typeof b === 'object') return [`base64: ${b.base64}`, true];
  return b === '' ? ['empty', true] : [b, false];
}

function span(className, b) {
  const [text, special] = typeof b === 'number' ? [String(b), false] : bytesOf(b);
  return make('span', {className: special ? className + ' special' : className}, text);
}

// row is a record in the list, which opens when it is pressed.
function row(r) {
  const button = make('button', {type: 'button', tabIndex: -1, 'aria-expanded': 'false', id: `r${r.partition}-${r.offset}`},
    make('span', {className: 'partition'}, String(r.partition)),
    make('span', {className: 'offset'}, format.count(r.offset)),
    make('span', {className: 'time'}, format.time(r.timestamp)),
    span('key', r.key), span('body', r.value),
    make('span', {className: 'size'}, format.bytes(r.bytes)));
  const item = make('li', {}, button);
  button.addEventListener('click', () => toggle(item, button, r));
  return item;
}

async function toggle(item, button, r) {
  const open = button.getAttribute('aria-expanded') !== 'true';
  button.setAttribute('aria-expanded', String(open));
  item.querySelector('.record')?.remove();
  if (!open) return;
  const box = make('div', {className: 'record'}, 'Loading …');
  item.append(box);
  try {
    const params = {offset: r.offset, max_records: 1, max_bytes: whole};
    // A record that is longer is shown up to there, without its headers.
    if (r.bytes > whole) params.preview = whole;
    const answer = await get(`${topicPath(topic)}/partitions/${r.partition}/records`, params);
    const full = answer.records[0];
    box.replaceChildren(...full?.offset === r.offset ? details(full) : ['The record is no longer there.']);
  } catch (err) {
    box.replaceChildren(make('p', {className: 'error', role: 'alert'}, why(err)));
  }
}

function details(r) {
  const parts = [part('Key', r.key)];
  if (r.headers?.length > 0) {
    parts.push(make('div', {}, make('h4', {}, 'Headers'), make('dl', {className: 'headers'},
      ...r.headers.flatMap((h) => [make('dt', {}, h.name), make('dd', {}, bytesOf(h.value)[0])]))));
  }
  parts.push(part(r.cut ? `Value, the first ${format.bytes(whole)}` : 'Value', r.value));
  return parts;
}

function part(title, b) {
  let [text, special] = bytesOf(b);
  if (!special) text = pretty(text);
  return make('div', {}, make('h4', {}, title), make('pre', {className: special ? 'special' : '', tabIndex: 0}, text));
}

// pretty indents what is JSON. Numbers that JavaScript cannot hold stay as they
// are, and so does the rest of their text.
function pretty(text) {
  if (!/^\s*[{[]/.test(text) || /[0-9]{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// Following: records come in bursts, and are shown at the next frame.

let stream; // an EventSource, while following
let retry; // the timer, while a stream is not there
let waiting = [];
let frame = 0;
let came = 0; // since following began
let told = 0;

function startFollowing() {
  by('follow').setAttribute('aria-pressed', 'true');
  form.begin.value = 'newest';
  beginChanged();
  came = told = 0;
  by('more').hidden = true;
  say(by('found'), 'Following: new records appear at the top.');
  connect();
}

function stopFollowing() {
  by('follow').setAttribute('aria-pressed', 'false');
  stream?.close();
  stream = undefined;
  clearTimeout(retry);
  waiting = [];
}

// connect begins, or goes on, at end: nothing is missed, nothing comes twice.
function connect() {
  const q = searched;
  const mine = new EventSource(address(topicPath(topic) + '/events', {partition: q.partition, key: q.key, contains: q.contains, preview, from: end}));
  stream = mine;
  const on = (event, handle) => mine.addEventListener(event, (e) => {
    if (stream !== mine) return;
    end = e.lastEventId || end;
    handle(JSON.parse(e.data));
  });
  on('begin', () => tell(by('records-error'), ''));
  on('record', (r) => {
    waiting.push(r);
    came++;
    if (waiting.length > rowsAtMost) waiting.shift();
    frame ||= requestAnimationFrame(append);
  });
  on('gap', (g) => {
    tell(by('records-error'), g.to < g.from
      ? `Partition ${g.partition} was cut back to offset ${format.count(g.to)}, and is followed from there.`
      : `Partition ${g.partition}: the records from offset ${format.count(g.from)} to ${format.count(g.to)} are no longer there.`);
  });
  on('failure', (f) => tell(by('records-error'), `Partition ${f.partition} cannot be followed: ${f.error}`));
  mine.addEventListener('error', () => {
    if (stream !== mine) return;
    const refused = mine.readyState === EventSource.CLOSED; // then it gives up; we do not
    tell(by('records-error'), `Following is ${refused ? 'refused' : 'interrupted'}. Trying again.`);
    if (refused) retry = setTimeout(connect, again);
  });
}

function append() {
  frame = 0;
  const rows = waiting.map(row);
  waiting = [];
  if (stream === undefined || rows.length === 0) return;
  rows.reverse().forEach((item) => item.classList.add('new'));
  list.prepend(...rows);
  while (list.children.length > rowsAtMost) {
    if (list.lastElementChild.contains(document.activeElement)) break;
    list.lastElementChild.remove();
  }
  settle();
}

// A screen reader is told how many came, and not each of them.
setInterval(() => {
  if (stream === undefined || came === told) return;
  told = came;
  say(by('found'), `Following: ${format.plural(came, 'new record')}.`);
}, 1000);

form.begin.addEventListener('change', beginChanged);
form.addEventListener('reset', () => setTimeout(beginChanged));
form.addEventListener('submit', (event) => { event.preventDefault(); search(); });
by('more').addEventListener('click', more);
by('follow').addEventListener('click', async () => {
  if (stream) {
    stopFollowing();
    say(by('found'), `Not following any more. ${format.plural(came, 'record')} came.`);
    return;
  }
  form.begin.value = 'newest';
  beginChanged();
  await search();
  if (end !== '') startFollowing();
});
