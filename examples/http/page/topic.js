// The chosen topic: its partitions and configuration.

import * as format from './format.js';
import {Problem, get, shared, topicPath, why} from './api.js';
import {by, make, roving, say, tell} from './dom.js';
import * as partition from './partition.js';
import * as place from './place.js';
import {perSecond} from './rates.js';
import * as records from './records.js';

const rowsAtMost = 256; // partitions in the table

const settle = roving(by('partitions').tBodies[0]);

let name = '';
let chosen = 0; // partition
let before; // the last description, and when it was

// shown is the topic that is.
export const shown = () => name;

// show turns to another topic, and to one of its partitions.
export function show(wanted, id) {
  if (wanted === name && id === chosen) return;
  chosen = id;
  mark();
  partition.show(wanted, id);
  if (wanted !== name) begin(wanted);
  if (name !== '') refresh().catch(why); // a server that is not there is told of every second
}

function begin(wanted) {
  name = wanted;
  before = undefined;
  by('topic').hidden = name === '';
  say(by('topic-title'), name);
  tell(by('topic-error'), '');
  by('partitions').tBodies[0].replaceChildren();
  by('config').replaceChildren();
  by('config').dataset.shown = '';
  records.show(name);
}

// refresh asks for the numbers again. It fails when the server does not answer.
export async function refresh() {
  if (name === '') return;
  if (await ask(name)) await partition.refresh();
}

// ask is true if there is such a topic.
const ask = shared(async (asked) => {
  try {
    const info = await get(topicPath(asked), {open: 'true'});
    if (asked !== name) return false;
    tell(by('topic-error'), '');
    const now = performance.now();
    table(info, before ? (now - before.at) / 1000 : 0);
    config(info);
    records.partitions(info.partitions.length);
    before = {at: now, appended: new Map(info.partitions.map((p) => [p.partition, p.appended])), read: new Map(info.partitions.map((p) => [p.partition, p.read]))};
    return true;
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    if (asked === name) tell(by('topic-error'), why(err));
    return false;
  }
});

// mark shows which partition is chosen.
function mark() {
  for (const row of by('partitions').tBodies[0].rows) {
    row.cells[0].firstChild.setAttribute('aria-pressed', String(Number(row.dataset.partition) === chosen));
  }
}

function table(info, seconds) {
  const body = by('partitions').tBodies[0];
  const labels = [...by('partitions').tHead.rows[0].cells].map((c) => c.textContent);
  const shown = info.partitions.slice(0, rowsAtMost);
  while (body.rows.length > shown.length) body.lastElementChild.remove();
  shown.forEach((p, i) => {
    const row = body.rows[i] ?? body.insertRow();
    const unsynced = p.open ? p.log_end_offset - p.durable_end : -1;
    const cells = [
      format.count(p.partition), p.error ? 'refuses appends' : p.open ? 'open' : 'not open',
      format.rate(perSecond(p.appended, before?.appended.get(p.partition), seconds)),
      format.rate(perSecond(p.read, before?.read.get(p.partition), seconds)),
      format.count(p.segments), format.bytes(p.bytes), format.count(p.log_start_offset), format.count(p.last_stable_offset),
      format.count(p.high_watermark), format.count(p.log_end_offset), format.count(unsynced),
    ];
    cells.forEach((text, c) => {
      let cell = row.cells[c];
      if (!cell) {
        cell = make(c === 0 ? 'th' : 'td', {'data-label': labels[c]});
        if (c === 0) {
          cell.scope = 'row';
          cell.append(make('button', {type: 'button', tabIndex: -1, 'aria-label': `Partition ${p.partition}`}));
        }
        row.append(cell);
      }
      say(c === 0 ? cell.firstChild : cell, text);
    });
    row.dataset.partition = p.partition;
    row.dataset.kind = p.error ? 'bad' : '';
    row.cells[1].title = p.error ?? '';
  });
  mark();
  settle();
}

// A row can be pressed anywhere; its button is there for the keyboard.
by('partitions').tBodies[0].addEventListener('click', (event) => {
  const row = event.target.closest('tr');
  if (row && getSelection().isCollapsed) place.go(name, Number(row.dataset.partition));
});

function config(info) {
  const list = Object.entries(info.config).sort(([a], [b]) => a < b ? -1 : 1);
  const items = [['topic id', info.id], ...list];
  const text = JSON.stringify(items);
  if (by('config').dataset.shown === text) return;
  by('config').dataset.shown = text;
  by('config').replaceChildren(...items.map(([key, value]) => make('div', {}, make('dt', {}, key), make('dd', {title: value}, format.property(key, value)))));
}
