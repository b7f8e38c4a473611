// Charts of the last two minutes, drawn by uPlot.

/* global uPlot */
import * as format from './format.js';
import {by, make} from './dom.js';

const span = 120; // seconds
const height = 150; // pixels

export const binary = [0, 10, 20, 30, 40].flatMap((k) => [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map((n) => n * 2 ** k));

// Each chart and its lines: a name, and the CSS variable of its colour.
const wanted = [
  {title: 'Records', write: format.rate, lines: [['appended', '--a'], ['read', '--b']]},
  {title: 'Bytes', write: format.byteRate, steps: binary, lines: [['appended', '--a'], ['read', '--b']]},
  {title: 'Append latency', write: format.duration, lines: [['p50', '--a'], ['p99', '--b']]},
  {title: 'Latency, p99', write: format.duration, lines: [['sync', '--a'], ['fetch', '--b'], ['end to end', '--c']]},
];

const charts = [];
const times = [];
const data = wanted.map((w) => w.lines.map(() => []));

// add adds a point to each line: a list for each chart. null is a gap.
export function add(seconds, values) {
  times.push(seconds);
  values.forEach((list, c) => list.forEach((v, l) => data[c][l].push(Number.isFinite(v) ? v : null)));
  while (times.length > 0 && times[0] < seconds - span - 5) {
    times.shift();
    data.flat().forEach((line) => line.shift());
  }
  charts.forEach((chart, c) => {
    chart.plot.setData([times, ...data[c]]);
    if (chart.plot.cursor.left < 0) chart.plot.setLegend({idx: times.length - 1});
    const last = wanted[c].lines.map(([name], l) => `${name} ${wanted[c].write(data[c][l].at(-1))}`);
    chart.box.setAttribute('aria-label', `${wanted[c].title}: ${last.join(', ')}`);
  });
}

export function gap(seconds) {
  add(seconds, wanted.map((w) => w.lines.map(() => null)));
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function axis() {
  return {stroke: colour('--quiet'), grid: {stroke: colour('--line'), width: 1}, ticks: {show: false}, font: '11px system-ui, sans-serif'};
}

// fit keeps a plot as wide as its box, and returns what does so.
export function fit(box, plot, height) {
  const resized = new ResizeObserver(() => {
    if (box.clientWidth > 0 && box.clientWidth !== plot.width) plot.setSize({width: box.clientWidth, height});
  });
  resized.observe(box);
  return resized;
}

// redrawn calls draw when the user wants other colours.
export function redrawn(draw) {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}

// alone picks the points that no line leads to or from.
function alone(u, line) {
  const values = u.data[line];
  return values.flatMap((v, i) => v !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null ? [i] : []);
}

function options(w, width) {
  return {
    width, height,
    cursor: {sync: {key: 'leat'}, points: {size: 6}, drag: {x: false, y: false}, y: false},
    legend: {live: true},
    scales: {
      x: {range: () => { const now = times.at(-1) ?? Date.now() / 1000; return [now - span, now]; }},
      y: {range: (u, low, high) => [0, high > 0 ? high * 1.15 : 1]},
    },
    axes: [
      {...axis(), space: 70, size: 26, values: (u, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString('en-GB'))},
      {...axis(), size: 72, space: 28, values: (u, ticks) => ticks.map((t) => w.write(t)), ...(w.steps && {incrs: w.steps})},
    ],
    series: [
      {value: (u, t) => t === null ? '' : new Date(t * 1000).toLocaleTimeString('en-GB'), label: 'at'},
      ...w.lines.map(([name, variable]) => ({
        label: name, stroke: colour(variable), width: 1.75, spanGaps: false, points: {show: true, size: 4, filter: alone},
        value: (u, v) => w.write(v),
      })),
    ],
  };
}

function draw() {
  charts.splice(0).forEach((chart) => { chart.resized.disconnect(); chart.plot.destroy(); });
  by('charts').replaceChildren();
  wanted.forEach((w, c) => {
    const box = make('div', {className: 'plot', role: 'img', 'aria-label': w.title});
    by('charts').append(make('figure', {}, make('figcaption', {}, w.title), box));
    const plot = new uPlot(options(w, box.clientWidth), [times, ...data[c]], box);
    charts.push({plot, box, resized: fit(box, plot, height)});
  });
}

export function begin() {
  draw();
  redrawn(draw);
}
