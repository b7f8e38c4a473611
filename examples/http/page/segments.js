// A partition's segments as bars, the oldest first, drawn by uPlot.

/* global uPlot */
import {axis, binary, colour, fit, redrawn} from './charts.js';
import * as format from './format.js';
import {by, say} from './dom.js';

const height = 130; // pixels
const narrowest = 4; // pixels of a bar, with the gap
const fewest = 12; // places for bars: a few are not spread over all the width

let plot; // nothing until there is something to show
let resized;
let segments = []; // those that the answer lists
let count = 0; // and how many there are
let bytes = 0;
let bars = []; // those that there is room for

// show draws a partition's segments.
export function show(answer) {
  ({list: segments, count} = answer.state.segments);
  bytes = answer.bytes;
  if (!plot) return draw();
  plot.setData(data());
  told();
}

// clear takes away those of a partition that is no longer shown.
export function clear() {
  resized?.disconnect();
  plot?.destroy();
  plot = undefined;
  by('segments').replaceChildren();
  say(by('segment'), '');
  say(by('segments-shown'), '');
}

export const share = (size) => bytes > 0 ? `${(100 * size / bytes).toFixed(1)} %` : '–';

function data() {
  bars = segments.slice(-Math.max(1, Math.floor((by('segments').clientWidth - 80) / narrowest)));
  const last = bars.length - 1;
  return [
    bars.map((s, i) => i),
    bars.map((s, i) => i < last ? s.bytes : null),
    bars.map((s, i) => i === last ? s.bytes : null),
  ];
}

function told() {
  const all = bars.length === count;
  say(by('segments-shown'), all ? format.count(count) : `the newest ${format.count(bars.length)} of ${format.count(count)}`);
  const active = bars.at(-1);
  by('segments').setAttribute('aria-label', `${format.plural(count, 'segment')}, ${format.bytes(bytes)}. ` +
    `The active one begins at offset ${format.count(active?.base_offset)} and has ${format.bytes(active?.bytes)}.`);
  pointed();
}

// pointed tells of the segment under the pointer, else of the active one.
function pointed() {
  const at = plot.cursor.left >= 0 && plot.cursor.idx !== null ? plot.cursor.idx : bars.length - 1;
  const s = bars[at];
  if (s) say(by('segment'), `${at === bars.length - 1 ? 'active, ' : ''}from offset ${format.count(s.base_offset)}: ${format.bytes(s.bytes)}, ${share(s.bytes)}`);
}

function options(width) {
  const line = {paths: uPlot.paths.bars({size: [0.8, 40]}), points: {show: false}, width: 0};
  return {
    width, height,
    padding: [8, 12, 0, 0],
    cursor: {points: {show: false}, drag: {x: false, y: false}, y: false},
    legend: {show: false},
    hooks: {setCursor: [() => { if (plot) pointed(); }]},
    scales: {
      x: {time: false, range: () => [-0.5, Math.max(bars.length, fewest) - 0.5]},
      y: {range: (u, low, high) => [0, high > 0 ? high * 1.1 : 1]},
    },
    axes: [
      {
        ...axis(), space: 130, size: 24, grid: {show: false}, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500],
        values: (u, ticks) => ticks.map((i) => bars[i] ? format.count(bars[i].base_offset) : ''),
      },
      {...axis(), size: 72, space: 28, incrs: binary, values: (u, ticks) => ticks.map((t) => format.bytes(t))},
    ],
    series: [{}, {...line, fill: colour('--a')}, {...line, fill: colour('--b')}],
  };
}

function draw() {
  clear();
  const box = by('segments');
  plot = new uPlot(options(box.clientWidth), data(), box);
  resized = fit(box, plot, height);
  told();
}

redrawn(() => { if (plot) draw(); });
