// The chosen partition: its segments, leader epochs, producers and transactions.

import * as format from './format.js';
import {Problem, get, shared, topicPath, why} from './api.js';
import {by, make, say, tell} from './dom.js';
import * as segments from './segments.js';

const rowsAtMost = 100; // of a table

let topic = '';
let id = 0;
let last; // the last answer

// show turns to another partition, of which refresh asks.
export function show(name, partition) {
  topic = name;
  id = partition;
  last = undefined;
  say(by('partition-title'), `Partition ${id}`);
  tell(by('partition-error'), '');
  by('partition-view').hidden = true;
  segments.clear();
}

// refresh asks again. It fails when the server does not answer.
export const refresh = () => ask(`${topicPath(topic)}/partitions/${id}`);

const ask = shared(async (path) => {
  const current = () => path === `${topicPath(topic)}/partitions/${id}`;
  try {
    const answer = await get(path);
    if (!current()) return;
    last = answer;
    tell(by('partition-error'), answer.error ? `This partition refuses appends: ${answer.error}` : '');
    by('partition-view').hidden = false;
    segments.show(answer);
    tables.forEach(write);
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    if (!current()) return;
    by('partition-view').hidden = true;
    tell(by('partition-error'), why(err));
  }
});

// What is shown of each list: in brief, and as a table whose first row is the
// newest, or of producers the one that holds readers back.
const tables = [
  {
    title: 'Segments', part: 'segments', columns: ['Base offset', 'Size', 'Share'], reverse: true,
    brief: (list) => `active from offset ${format.count(list.at(-1)?.base_offset)}`,
    row: (s) => [format.count(s.base_offset), format.bytes(s.bytes), segments.share(s.bytes)],
  },
  {
    title: 'Leader epochs', part: 'leader_epochs', columns: ['Epoch', 'From offset'], reverse: true,
    brief: (list) => `the latest is ${list.at(-1)?.epoch}, from offset ${format.count(list.at(-1)?.start_offset)}`,
    row: (e) => [String(e.epoch), format.count(e.start_offset)],
  },
  {
    title: 'Producers', part: 'producers', columns: ['Producer', 'Epoch', 'Last append', 'Open transaction'],
    brief: (list, state) => state.open_transactions === 0 ? 'no transaction is open'
      : `${format.plural(state.open_transactions, 'open transaction')}, since offset ${format.count(list[0]?.txn_start)}`,
    row: (p) => [String(p.producer_id), String(p.producer_epoch), format.time(p.last_timestamp), p.txn_start < 0 ? 'none' : `since offset ${format.count(p.txn_start)}`],
  },
  {
    title: 'Aborted transactions', part: 'aborted_transactions', columns: ['Producer', 'From offset', 'Marker at'], reverse: true,
    brief: (list) => `the last one ended at offset ${format.count(list.at(-1)?.last_offset)}`,
    row: (a) => [String(a.producer_id), format.count(a.first_offset), format.count(a.last_offset)],
  },
];

function begin(t) {
  t.count = make('span', {className: 'count'});
  t.facts = make('span', {className: 'facts'});
  t.body = make('tbody');
  t.more = make('p', {className: 'found', hidden: true});
  t.box = make('details', {}, make('summary', {}, make('span', {className: 'name'}, t.title), ' ', t.count, ' ', t.facts),
    make('div', {className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': t.title},
      make('table', {}, make('thead', {}, make('tr', {}, ...t.columns.map((c) => make('th', {scope: 'col'}, c)))), t.body)),
    t.more);
  t.box.addEventListener('toggle', () => write(t));
  by('lists').append(t.box);
}

function write(t) {
  if (!last) return;
  const {count, list} = last.state[t.part];
  say(t.count, format.count(count));
  say(t.facts, count > 0 ? t.brief(list, last.state) : '');
  t.box.dataset.kind = t.part === 'producers' && last.state.open_transactions > 0 ? 'open' : '';
  if (!t.box.open) return;
  const shown = (t.reverse ? list.toReversed() : list).slice(0, rowsAtMost);
  const rows = shown.map(t.row);
  tell(t.more, rows.length < count ? `The first ${rows.length} of ${format.count(count)} are shown.` : '');
  const text = JSON.stringify(rows);
  if (t.written === text) return; // so that what is selected stays so
  t.written = text;
  t.body.replaceChildren(...rows.map((cells) => make('tr', {}, ...cells.map((c) => make('td', {}, c)))));
}

tables.forEach(begin);
