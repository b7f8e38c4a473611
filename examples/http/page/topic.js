// The chosen topic: its partitions and configuration.

import * as format from './format.js';
import {Problem, get, topicPath, why} from './api.js';
import {by, make, say, tell} from './dom.js';
import {perSecond} from './rates.js';
import * as records from './records.js';

const rowsAtMost = 256; // partitions in the table

let name = '';
let before; // the last description, and when it was

// show turns to another topic.
export function show(wanted) {
  if (wanted === name) return;
  name = wanted;
  before = undefined;
  by('topic').hidden = name === '';
  say(by('topic-title'), name);
  tell(by('topic-error'), '');
  by('partitions').tBodies[0].replaceChildren();
  by('config').replaceChildren();
  records.show(name);
  if (name !== '') refresh().catch(why); // a server that is not there is told of every second
}

// refresh asks for the numbers again. It fails when the server does not answer.
export async function refresh() {
  if (name === '') return;
  const asked = name;
  try {
    const info = await get(topicPath(asked), {open: 'true'});
    if (asked !== name) return;
    tell(by('topic-error'), '');
    const now = performance.now();
    table(info, before ? (now - before.at) / 1000 : 0);
    config(info);
    records.partitions(info.partitions.length);
    before = {at: now, appended: new Map(info.partitions.map((p) => [p.partition, p.appended])), read: new Map(info.partitions.map((p) => [p.partition, p.read]))};
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    if (asked === name) tell(by('topic-error'), why(err));
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
        if (c === 0) cell.scope = 'row';
        row.append(cell);
      }
      say(cell, text);
    });
    row.dataset.kind = p.error ? 'bad' : '';
    row.cells[1].title = p.error ?? '';
  });
}

function config(info) {
  const list = Object.entries(info.config).sort(([a], [b]) => a < b ? -1 : 1);
  const items = [['topic id', info.id], ...list];
  const text = JSON.stringify(items);
  if (by('config').dataset.shown === text) return;
  by('config').dataset.shown = text;
  by('config').replaceChildren(...items.map(([key, value]) => make('div', {}, make('dt', {}, key), make('dd', {title: value}, format.property(key, value)))));
}
