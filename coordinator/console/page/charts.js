// Curves over steps: an SVG that is drawn anew when numbers come, a cursor for pointer and keyboard, and the same as a table.

const NS = 'http://www.w3.org/2000/svg';
const HEIGHT = 230, LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 24;
const DASHES = ['', '6 4', '2 3', '9 3 2 3'];
const TABLE_ROWS = 25;

function svg(name, attributes) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function html(name, attributes = {}, text = '') {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// About `count` round numbers between the two.
function ticks(low, high, count) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; ++i) found.push(i * step);
  return found;
}

export class Chart {
  // `format`: a value as text. `stacked`: the lines are parts of a whole. `zero`: the axis begins there. `wide`: it takes the row.
  constructor(parent, {id, title, note, format, stacked = false, zero = false, wide = false}) {
    Object.assign(this, {title, format, stacked, zero, x: [], lines: [], at: null});
    const figure = html('figure', {id, class: wide ? 'wide' : ''});
    const caption = html('figcaption');
    this.heading = html('h4', {id: `${id}-title`}, title);
    this.summary = html('p', {id: `${id}-summary`}, note);
    this.note = note;
    caption.append(this.heading, this.summary);
    this.legend = html('ul', {class: 'legend'});
    this.plot = svg('svg', {class: 'plot', role: 'img', tabindex: 0, 'aria-labelledby': `${id}-title`,
                            'aria-describedby': `${id}-summary ${id}-keys`});
    this.readout = html('output', {class: 'readout'});
    const keys = html('p', {class: 'hidden', id: `${id}-keys`}, 'Left and right arrow keys read the values.');
    this.details = html('details');
    this.table = html('div', {class: 'scroll', role: 'region', tabindex: 0, 'aria-label': `${title}: numbers`});
    this.details.append(html('summary', {}, `${title} as numbers`), this.table);
    figure.append(caption, this.legend, this.plot, this.readout, keys, this.details);
    parent.append(figure);
    this.plot.addEventListener('keydown', (event) => this.onKey(event));
    this.plot.addEventListener('pointermove', (event) => this.onPointer(event));
    this.plot.addEventListener('pointerleave', () => this.moveTo(null, false));
    this.plot.addEventListener('blur', () => this.moveTo(null, false));
    this.details.addEventListener('toggle', () => this.fillTable());
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // lines: [{name, values}], a value or null for every x. An x below the one before begins anew (a restart).
  update(x, lines) {
    Object.assign(this, {x, lines});
    if (this.at !== null && this.at >= x.length) this.at = null;
    this.fillLegend();
    this.fillSummary();
    this.fillTable();
    this.draw();
  }

  fillLegend() {
    const names = this.lines.map((line) => line.name).join('\n');
    if (names === this.names) return;
    this.names = names;
    this.legend.replaceChildren(...this.lines.map((line, i) => {
      const item = html('li', {class: `c${i}`});
      const sample = svg('svg', {viewBox: '0 0 22 10', 'aria-hidden': 'true'});
      sample.append(this.stacked ? svg('rect', {class: 'area', width: 22, height: 10})
                                 : svg('path', {class: 'curve', d: 'M0 5H22', 'stroke-dasharray': DASHES[i % 4]}));
      item.append(sample, line.name);
      return item;
    }));
  }

  fillSummary() {
    const parts = this.lines.map((line) => {
      const last = line.values.findLast((value) => value !== null);
      return last === undefined ? null : `${line.name} ${this.format(last)}`;
    }).filter((part) => part !== null);
    const text = parts.length === 0 ? 'Nothing is known yet.' : `${this.note} Now: ${parts.join(', ')}.`;
    if (this.summary.textContent !== text) this.summary.textContent = text;
  }

  fillTable() {
    if (!this.details.open) return;
    const table = html('table');
    const head = html('tr');
    head.append(html('th', {scope: 'col'}, 'Step'), ...this.lines.map((line) => html('th', {scope: 'col'}, line.name)));
    const thead = html('thead'), body = html('tbody');
    thead.append(head);
    const every = Math.max(1, Math.ceil(this.x.length / TABLE_ROWS));
    for (let i = this.x.length - 1; i >= 0; i -= every) {
      const row = html('tr');
      row.append(html('th', {scope: 'row'}, String(this.x[i])),
                 ...this.lines.map((line) => html('td', {}, line.values[i] === null ? '–' : this.format(line.values[i]))));
      body.append(row);
    }
    table.append(html('caption', {}, `${this.title}, the latest first`), thead, body);
    this.table.replaceChildren(table);
  }

  // Lower and upper edges of every line's values; stacked, they stand on each other.
  edges() {
    if (!this.stacked) return this.lines.map((line) => ({low: null, high: line.values}));
    let below = this.x.map(() => 0);
    return this.lines.map((line) => {
      const low = below;
      below = low.map((value, i) => value + (line.values[i] ?? 0));
      return {low, high: below.map((value, i) => (line.values[i] === null ? null : value))};
    });
  }

  scales(edges) {
    const values = edges.flatMap((edge) => edge.high).filter((value) => value !== null);
    let low = this.zero || this.stacked ? 0 : Math.min(...values), high = Math.max(...values);
    if (!(high > low)) {  // all the same
      const room = (Math.abs(high) || 1) * 0.1;
      high += room;
      if (!this.zero && !this.stacked) low -= room;
    }
    const first = Math.min(...this.x), last = Math.max(...this.x);
    const width = this.plot.clientWidth || 480;
    return {
      low, high, first, last, width,
      px: (x) => LEFT + (last > first ? (x - first) / (last - first) : 0.5) * (width - LEFT - RIGHT),
      py: (y) => TOP + (1 - (y - low) / (high - low)) * (HEIGHT - TOP - BOTTOM),
    };
  }

  draw() {
    this.plot.replaceChildren();
    const edges = this.edges();
    if (this.x.length === 0 || edges.every((edge) => edge.high.every((value) => value === null))) return;
    const scale = this.scales(edges);
    this.scale = scale;
    this.plot.setAttribute('viewBox', `0 0 ${scale.width} ${HEIGHT}`);
    this.drawAxes(scale);
    edges.forEach((edge, i) => this.drawLine(edge, i, scale));
    this.cursor = svg('line', {class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden'});
    this.plot.append(this.cursor);
    this.drawCursor();
  }

  drawAxes(scale) {
    for (const value of ticks(scale.low, scale.high, 4)) {
      const y = scale.py(value);
      const label = svg('text', {x: LEFT - 6, y: y + 4, 'text-anchor': 'end'});
      label.textContent = this.format(value);
      this.plot.append(svg('line', {class: 'gridline', x1: LEFT, x2: scale.width - RIGHT, y1: y, y2: y}), label);
    }
    for (const value of ticks(scale.first, scale.last, Math.max(2, scale.width / 110))) {
      if (!Number.isInteger(value)) continue;
      const label = svg('text', {x: scale.px(value), y: HEIGHT - 8, 'text-anchor': 'middle'});
      label.textContent = String(value);
      this.plot.append(label);
    }
    const unit = svg('text', {x: LEFT - 16, y: HEIGHT - 8, 'text-anchor': 'end'});
    unit.textContent = 'step';
    this.plot.append(unit, svg('line', {class: 'axis', x1: LEFT, x2: scale.width - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM}));
  }

  // Runs of points between gaps and restarts.
  runs(values) {
    const runs = [];
    let run = [];
    this.x.forEach((x, i) => {
      const breaks = values[i] === null || (run.length > 0 && x < this.x[run[run.length - 1]]);
      if (breaks && run.length > 0) runs.push(run), run = [];
      if (values[i] !== null) run.push(i);
    });
    if (run.length > 0) runs.push(run);
    return runs;
  }

  drawLine(edge, index, scale) {
    const point = (values) => (i) => `${scale.px(this.x[i]).toFixed(1)} ${scale.py(values[i]).toFixed(1)}`;
    for (const run of this.runs(edge.high)) {
      const upper = run.map(point(edge.high));
      const common = {class: `${edge.low === null ? 'curve' : 'area'} c${index}`};
      if (edge.low !== null)
        this.plot.append(svg('path', {...common, d: `M${upper.join('L')}L${run.toReversed().map(point(edge.low)).join('L')}Z`}));
      else if (run.length === 1)
        this.plot.append(svg('circle', {class: `dot c${index}`, cx: scale.px(this.x[run[0]]), cy: scale.py(edge.high[run[0]]), r: 3}));
      else
        this.plot.append(svg('path', {...common, d: `M${upper.join('L')}`, 'stroke-dasharray': DASHES[index % 4]}));
    }
  }

  onKey(event) {
    const last = this.x.length - 1;
    if (last < 0) return;
    const stride = event.shiftKey ? Math.max(1, Math.round(last / 10)) : 1;
    const from = this.at ?? last;
    const to = {ArrowLeft: from - stride, ArrowRight: from + stride, Home: 0, End: last}[event.key];
    if (event.key === 'Escape') return this.moveTo(null, false);
    if (to === undefined) return;
    event.preventDefault();
    this.moveTo(Math.min(Math.max(this.at === null && event.key === 'ArrowLeft' ? last : to, 0), last), true);
  }

  onPointer(event) {
    if (!this.scale || this.x.length === 0) return;
    const at = event.clientX - this.plot.getBoundingClientRect().left;
    let best = 0;
    this.x.forEach((x, i) => {
      if (Math.abs(this.scale.px(x) - at) <= Math.abs(this.scale.px(this.x[best]) - at)) best = i;
    });
    this.moveTo(best, false);
  }

  // A screen reader hears what the keyboard asked for, and not where a pointer passed.
  moveTo(index, said) {
    this.at = index;
    this.readout.setAttribute('aria-live', said ? 'polite' : 'off');
    this.drawCursor();
  }

  drawCursor() {
    if (!this.cursor) return;
    if (this.at === null) {
      this.cursor.setAttribute('visibility', 'hidden');
      this.readout.textContent = '';
      return;
    }
    const x = this.scale.px(this.x[this.at]);
    this.cursor.setAttribute('x1', x);
    this.cursor.setAttribute('x2', x);
    this.cursor.setAttribute('visibility', 'visible');
    const values = this.lines.filter((line) => line.values[this.at] !== null)
                       .map((line) => `${line.name} ${this.format(line.values[this.at])}`);
    this.readout.textContent = `Step ${this.x[this.at]}: ${values.join(', ') || 'nothing known'}`;
  }
}
