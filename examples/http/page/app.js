// The page: it asks for the numbers every second, and for records when told to.

import * as charts from './charts.js';
import * as format from './format.js';
import {get, why} from './api.js';
import {by, make, roving, say, tell} from './dom.js';
import {perSecond, quantile} from './rates.js';
import * as place from './place.js';
import * as topic from './topic.js';

const interval = 1000;

let before; // the last answer
let answered; // when that was, for the user

async function tick() {
  try {
    const stats = await get('stats');
    show(stats);
    before = stats;
    answered = new Date();
    tell(by('offline'), '');
    await topic.refresh();
  } catch (err) {
    lost(why(err));
  } finally {
    setTimeout(tick, interval);
  }
}

function lost(reason) {
  charts.gap(Date.now() / 1000);
  state('offline', 'bad');
  const since = answered ? ` The numbers are those of ${answered.toLocaleTimeString('en-GB')}.` : '';
  tell(by('offline'), `${reason} Trying again every second.${since}`);
}

function state(text, kind) {
  say(by('state'), text);
  by('state').dataset.kind = kind;
}

function show(now) {
  const seconds = before ? (now.now - before.now) / 1000 : 0;
  const grown = (part, count) => perSecond(now[part][count], before?.[part][count], seconds);
  const latency = (name, q) => quantile(now.latency[name], before?.latency[name], q);
  const appended = grown('appended', 'records');
  const read = grown('read', 'records');
  const p99 = latency('append', 0.99);
  charts.add(now.now / 1000, [
    [appended, read],
    [grown('appended', 'bytes'), grown('read', 'bytes')],
    [latency('append', 0.5), p99],
    [latency('sync', 0.99), latency('fetch', 0.99), latency('end_to_end', 0.99)],
  ]);

  say(by('dir'), now.dir);
  const bad = now.failed + now.damaged;
  if (bad > 0) state(format.plural(bad, 'partition') + (now.failed > 0 ? ' failed' : ' damaged'), 'bad');
  else state('live', 'good');
  tiles([
    ['Appended', format.rate(appended), format.plural(now.appended.records, 'record')],
    ['Read', format.rate(read), format.plural(now.read.records, 'record')],
    ['Append, p99', format.duration(p99), format.plural(now.syncs, 'sync')],
    ['Stored', format.bytes(now.bytes), format.plural(now.segments, 'segment')],
    ['Partitions', format.count(now.partitions), `${format.count(now.open)} open`],
    ['Topics', format.count(now.topics.length), bad > 0 ? `${bad} partitions refuse appends` : 'all well'],
  ]);
  list(now, seconds);
}

function tiles(wanted) {
  const box = by('tiles');
  if (box.children.length === 0) {
    box.append(...wanted.map(([name]) => make('div', {}, make('dt', {}, name), make('dd', {className: 'value'}), make('dd', {className: 'more'}))));
  }
  wanted.forEach(([, value, more], i) => {
    say(box.children[i].children[1], value);
    say(box.children[i].children[2], more);
  });
}

// The list of topics: its items stay the same elements, so that the focus does.
const items = new Map();
const settle = roving(by('topics'));

function list(now, seconds) {
  const rates = new Map(before?.topics.map((t) => [t.name, t.appended]));
  const there = new Set(now.topics.map((t) => t.name));
  for (const [name, item] of items) {
    if (there.has(name)) continue;
    item.remove();
    items.delete(name);
  }
  now.topics.forEach((t, i) => {
    let item = items.get(t.name);
    if (!item) {
      const button = make('button', {type: 'button', tabIndex: -1},
        make('span', {className: 'name'}, t.name), make('span', {className: 'rate'}), make('span', {className: 'facts'}));
      button.addEventListener('click', () => place.go(t.name));
      item = make('li', {}, button);
      items.set(t.name, item);
    }
    if (by('topics').children[i] !== item) by('topics').insertBefore(item, by('topics').children[i] ?? null);
    const [, rate, facts] = item.firstChild.children;
    const speed = perSecond(t.appended, rates.get(t.name), seconds);
    say(rate, speed > 0 ? format.rate(speed) : '');
    say(facts, `${format.plural(t.partitions, 'partition')}, ${t.open > 0 ? format.bytes(t.bytes) : 'not open yet'}`);
    item.dataset.kind = t.bad > 0 ? 'bad' : '';
  });
  say(by('topics-count'), format.count(now.topics.length));
  by('no-topics').hidden = now.topics.length > 0;
  filter();
  if (place.chosen().topic === '' && now.topics.length > 0) place.be(topic.shown() || now.topics[0].name);
  choose();
}

function filter() {
  const text = by('filter').value.toLowerCase();
  for (const [name, item] of items) item.hidden = !name.toLowerCase().includes(text);
  settle();
}

function choose() {
  const {topic: name, partition} = place.chosen();
  for (const [other, item] of items) {
    if (other === name) item.firstChild.setAttribute('aria-current', 'true');
    else item.firstChild.removeAttribute('aria-current');
  }
  topic.show(name, partition);
}

by('filter').addEventListener('input', filter);
addEventListener('hashchange', () => { if (place.chosen().topic !== '') choose(); });
// The link is no address: what is chosen stays so.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  by('content').focus();
});
say(by('make-topic'), `curl -H 'Content-Type: application/json' -d '{"name": "orders", "partitions": 3}' ${location.origin}/topics`);
charts.begin();
tick();
