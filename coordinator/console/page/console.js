// The console: asks the coordinator every two seconds and shows what it says. Text of others becomes text nodes, never markup.

import {Chart} from './charts.js';
import {NOTHING, bytes, clock, duration, number, percent, plain, seconds} from './text.js';

const EVERY_MS = 2000, HIDDEN_MS = 15000, MOST_EVENTS = 200;
const TOKEN = 'filigree-token';
const $ = (id) => document.getElementById(id);

let events = [];       // the latest first
let lastEvent = 0;     // its number
let epoch = null;      // of the coordinator: another one counts its events anew
let chosen = null;     // the job whose details are shown
let shownJob = null;   // its last answer
let charts = null;
let shownLog = null;   // whose lines stand there, and up to which arrival
let mayEnd = false;
let timer = null;
let round = 0;         // answers of earlier rounds come too late

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, method = 'GET') {
  const headers = {'X-Filigree': 'console'};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  const reply = await fetch(path, {method, headers, cache: 'no-store', redirect: 'error'});
  const answer = await reply.json();
  if (!reply.ok) throw new Refused(reply.status, answer.error);
  return answer;
}

// ---- Small pieces of the page ----

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

// Rows by key: those that stay keep their elements, and with them the focus. `cells`: the first one heads the row.
function fillRows(body, items, keyOf, cells, empty) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const key = keyOf(item);
    const row = known.get(key) ?? document.createElement('tr');
    row.dataset.key = key;
    cells(item, row);
    return row;
  });
  if (rows.length === 0) {
    const row = known.get('') ?? document.createElement('tr');
    row.dataset.key = '';
    row.className = 'empty';
    cell(row, 0, empty).colSpan = body.closest('table').querySelectorAll('thead th').length;
    rows.push(row);
  }
  const same = rows.length === body.children.length && rows.every((row, i) => row === body.children[i]);
  if (!same) body.replaceChildren(...rows);
}

function cell(row, index, text, head = false) {
  let element = row.children[index];
  if (!element) {
    element = document.createElement(head ? 'th' : 'td');
    if (head) element.scope = 'row';
    row.append(element);
  }
  if (text !== null) setText(element, text);
  return element;
}

function badge(element, text) {
  const name = {running: 'good', done: 'good', live: 'good', finished: 'good', failed: 'bad', lost: 'bad', recovering: 'warn',
                draining: 'warn', silent: 'warn', stopped: 'calm', cancelled: 'calm', left: 'calm'}[text] ?? 'calm';
  let span = element.firstElementChild;
  if (!span) element.append(span = document.createElement('span'));
  setText(span, text);
  setClass(span, `state ${name}`);
}

function secondsLeft(job) {
  if (!job.target_steps || !job.step_seconds || job.ended) return null;
  return Math.max(job.target_steps - job.step, 0) * job.step_seconds;
}

// ---- Jobs ----

function showJobs(state) {
  fillRows($('job-rows'), state.jobs, (job) => job.id, (job, row) => {
    const head = cell(row, 0, null, true);
    let link = head.firstElementChild;
    if (!link) head.append(link = document.createElement('a'));
    link.href = `#job=${job.id}`;
    setText(link, job.id);
    if (job.id === chosen) row.setAttribute('aria-current', 'true');
    else row.removeAttribute('aria-current');
    badge(cell(row, 1, null), job.state);
    const grid = `${job.data}×${job.tensor}`;
    cell(row, 2, job.data === 0 ? `${job.wanted_data}×${job.tensor} wanted`
                                : grid + (job.data < job.wanted_data ? ` of ${job.wanted_data}×${job.tensor}` : ''));
    fillStep(cell(row, 3, null), job);
    cell(row, 4, duration(secondsLeft(job)));
    cell(row, 5, job.ended ? NOTHING : seconds(job.step_seconds));
    cell(row, 6, number(job.train_loss));
    cell(row, 7, percent(job.density));
    cell(row, 8, String(job.restarts));
  }, 'There are no jobs. filigree submit makes one.');
  setText($('jobs-note'), state.more_jobs ? 'There are more; filigree jobs lists them all.' : '');
}

function fillStep(element, job) {
  let text = element.querySelector('span'), bar = element.querySelector('progress');
  if (!text) element.append(text = document.createElement('span'));
  setText(text, job.step === undefined ? NOTHING : job.target_steps ? `${job.step} of ${job.target_steps}` : String(job.step));
  if (!job.target_steps) return bar?.remove();
  if (!bar) element.append(bar = document.createElement('progress'));
  bar.setAttribute('aria-label', `Steps of ${job.id}`);
  bar.max = job.target_steps;
  bar.value = Math.min(job.step, job.target_steps);
}

// ---- One job ----

function makeCharts() {
  const parent = $('job-charts');
  return {
    loss: new Chart(parent, {id: 'chart-loss', title: 'Loss', note: 'Nats a token over steps.', format: number}),
    density: new Chart(parent, {id: 'chart-density', title: 'Density', note: 'Share of the weights that are not zero.',
                                format: percent, zero: true}),
    phases: new Chart(parent, {id: 'chart-phases', title: 'Time of a step by phase', note: 'Mean over ranks, of the present generation.',
                               format: seconds, stacked: true, wide: true}),
    churn: new Chart(parent, {id: 'chart-churn', title: 'Mask churn', note: 'Share of the mask that an update replaced.',
                              format: percent, zero: true}),
    traffic: new Chart(parent, {id: 'chart-traffic', title: 'Traffic between ranks',
                                note: 'All ranks, since the generation began.', format: bytes, zero: true}),
  };
}

function showCurves(series) {
  charts ??= makeCharts();
  const {step} = series;
  charts.loss.update(step, [{name: 'train', values: series.train_loss}, {name: 'validation', values: series.val_loss}]);
  charts.density.update(step, [{name: 'density', values: series.density}]);
  // Areas of two generations would lie on each other.
  const now = series.generation.at(-1);
  charts.phases.update(step, series.phase_names.map(
      (name, i) => ({name, values: series.phases[i].map((value, at) => (series.generation[at] === now ? value : null))})));
  charts.churn.update(step, [{name: 'churn', values: series.churn}]);
  charts.traffic.update(step, [{name: 'dense equivalent', values: series.dense_equivalent_bytes},
                               {name: 'sent', values: series.sent_bytes}]);
  setText($('curves-note'), step.length === 0 ? 'Nothing has been sampled since the coordinator was started.'
                                              : `${step.length} ${step.length === 1 ? 'point' : 'points'} since the coordinator was started.`);
}

function tilesOf(job) {
  const ratio = job.sent_bytes > 0 ? job.dense_equivalent_bytes / job.sent_bytes : null;
  return [
    ['State', job.state, `generation ${job.generation}`],
    ['Step', job.step === undefined ? NOTHING : String(job.step), job.target_steps ? `of ${job.target_steps}` : ''],
    ['Time left', duration(secondsLeft(job)), job.step_seconds ? `${seconds(job.step_seconds)} a step` : ''],
    ['Ranks', job.ended ? String(job.ranks_total) : `${job.ranks_running} of ${job.ranks_total} run`, `${job.data}×${job.tensor}, data × tensor`],
    ['Train loss', number(job.train_loss), `validation ${number(job.val_loss)}`],
    ['Density', percent(job.density), `mask churn ${percent(job.churn)}`],
    ['Sent', bytes(job.sent_bytes), ratio === null ? '' : `${number(ratio, 3)} times less than dense`],
    ['Checkpoint', job.last_commit === null ? 'none' : `step ${job.last_commit}`,
     job.restarts === 1 ? '1 restart' : `${job.restarts} restarts`],
  ];
}

function fillTiles(list, tiles) {
  while (list.children.length < tiles.length) {
    const tile = document.createElement('div'), value = document.createElement('dd');
    value.append(document.createElement('span'), document.createElement('small'));
    tile.append(document.createElement('dt'), value);
    list.append(tile);
  }
  tiles.forEach(([name, value, more], i) => {
    setText(list.children[i].querySelector('dt'), name);
    setText(list.children[i].querySelector('span'), value);
    setText(list.children[i].querySelector('small'), more);
  });
}

function showJob(job) {
  shownJob = job;
  $('job').hidden = false;
  setText($('job-title'), `Job ${job.id}`);
  setText($('job-reason'), job.last_heard_ms > 2500 ? `${job.reason}. A worker has been silent for ${seconds(job.last_heard_ms / 1000)}.`
                                                    : job.reason);
  $('job-actions').hidden = !mayEnd || job.ended;
  fillTiles($('job-tiles'), tilesOf(job));
  showCurves(job.series);
  $('slow-part').hidden = job.slow_ranks.length === 0;
  fillRows($('slow-rows'), job.slow_ranks, (slow) => String(slow.rank), (slow, row) => {
    cell(row, 0, String(slow.rank), true);
    cell(row, 1, slow.worker);
    cell(row, 2, number(slow.ratio, 2));
    cell(row, 3, slow.phase);
    cell(row, 4, seconds(slow.seconds));
    cell(row, 5, seconds(slow.median_seconds));
  }, '');
  fillRows($('rank-rows'), job.ranks, (rank) => String(rank.rank), (rank, row) => {
    cell(row, 0, String(rank.rank), true);
    cell(row, 1, rank.worker);
    badge(cell(row, 2, null), rank.state);
    cell(row, 3, ['silent', 'gone'].includes(rank.state) ? NOTHING : String(rank.step));
    cell(row, 4, rank.slow ? `slow${rank.reason ? `: ${rank.reason}` : ''}` : rank.reason);
  }, 'It has no ranks yet.');
  $('matrices').hidden = job.matrices.length === 0;
  fillRows($('matrix-rows'), job.matrices, (matrix) => `${matrix.layer} ${matrix.matrix}`, (matrix, row) => {
    cell(row, 0, matrix.layer < 0 ? NOTHING : String(matrix.layer), true);
    cell(row, 1, matrix.matrix);
    cell(row, 2, percent(matrix.density));
    cell(row, 3, number(matrix.threshold));
    cell(row, 4, percent(matrix.churn));
  }, '');
}

// ---- What its ranks have printed ----

function logAsked() {
  return {job: chosen, rank: $('log-rank').value, epoch};
}

function logIs(asked) {
  return shownLog !== null && Object.entries(asked).every(([key, value]) => shownLog[key] === value);
}

async function askLog() {
  const asked = logAsked();
  const rank = asked.rank === '' ? '' : `&rank=${asked.rank}`;
  const log = await ask(`/api/log?id=${encodeURIComponent(chosen)}${rank}&after=${logIs(asked) ? shownLog.after : 0}`);
  return {asked, log};
}

function fillRanks(job) {
  const count = job.ranks_total, select = $('log-rank');
  if (select.options.length === count + 1 && select.dataset.job === job.id) return;
  const rank = select.dataset.job === job.id ? select.value : '';
  select.dataset.job = job.id;
  select.replaceChildren(new Option('all ranks', ''), ...Array.from({length: count}, (_, r) => new Option(`rank ${r}`, String(r))));
  select.value = rank === '' || Number(rank) < count ? rank : '';
}

function textOfLog(lines, all) {
  let generation = lines[0]?.generation;
  const texts = [];
  for (const line of lines) {
    if (line.generation !== generation) texts.push(`--- generation ${line.generation}`);
    generation = line.generation;
    const text = line.missing === undefined ? plain(line.text) : `[${bytes(line.missing)} are not kept]`;
    texts.push(all ? `rank ${line.rank} | ${text}` : text);
  }
  return texts.join('\n');
}

function showLog({asked, log}) {
  if (logIs(asked) && log.lines === null) return;
  const fresh = !logIs(asked), box = $('log');
  const atEnd = fresh || box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  shownLog = {...asked, after: log.after};
  setText(box, textOfLog(log.lines ?? [], asked.rank === ''));
  setText($('log-note'), box.textContent === '' ? 'Nothing that it printed is kept; what was printed is forgotten with the coordinator’s process.'
                                                : 'The last lines; filigree logs shows what is kept, and follows it.');
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function hideJob() {
  shownJob = null;
  $('job').hidden = true;
}

// ---- Workers and events ----

function showWorkers(state) {
  $('worker-action').hidden = !mayEnd;
  fillRows($('worker-rows'), state.workers, (worker) => worker.name, (worker, row) => {
    cell(row, 0, worker.name, true);
    cell(row, 1, worker.host);
    badge(cell(row, 2, null), worker.presence);
    cell(row, 3, `${worker.used} of ${worker.slots}`);
    const action = cell(row, 4, null);
    action.hidden = !mayEnd;
    let button = action.firstElementChild;
    if (!button) {
      action.append(button = document.createElement('button'));
      button.type = 'button';
      setText(button, 'Drain…');
      button.setAttribute('aria-label', `Drain worker ${worker.name}`);
      button.addEventListener('click', () => confirm(`Drain worker ${worker.name}?`,
          'It gets no more ranks. Jobs that run there go on elsewhere, after a checkpoint.', 'Drain',
          `/api/drain?worker=${worker.name}`));
    }
    button.disabled = worker.presence !== 'live';
  }, 'There are no workers.');
  setText($('workers-note'), state.more_workers ? 'There are more; filigree jobs --workers lists them all.' : '');
}

function whatOf(event) {
  return event.kind === 'job_moved' ? event.to : event.kind.replaceAll('_', ' ');
}

const LOUD = new Set(['fault', 'masks_differ', 'worker_lost', 'straggler']);

function takeEvents(news) {
  if (news.length === 0) return;
  const first = lastEvent === 0;
  lastEvent = news.at(-1).number;
  events = [...news.toReversed(), ...events].slice(0, MOST_EVENTS);
  const loud = news.filter((event) => LOUD.has(event.kind) || ['failed', 'done'].includes(event.to));
  if (!first && loud.length > 0)
    setText($('announce'), loud.map((event) => `${event.job || event.worker}: ${whatOf(event)}. ${event.text}`).join(' '));
}

function showEvents() {
  const only = $('only-job').checked && chosen !== null;
  const shown = only ? events.filter((event) => event.job === chosen) : events;
  fillRows($('event-rows'), shown, (event) => String(event.number), (event, row) => {
    cell(row, 0, clock(event.wall_us));
    const what = cell(row, 1, whatOf(event));
    setClass(what, LOUD.has(event.kind) || event.to === 'failed' ? 'bad' : '');
    cell(row, 2, event.job || event.worker);
    cell(row, 3, event.text);
  }, 'Nothing has happened since the coordinator was started.');
  setText($('events-note'), events.length >= MOST_EVENTS ? `The last ${MOST_EVENTS} are shown.` : '');
}

// ---- Asking before something is ended ----

let onYes = null;

function confirm(title, text, yes, path) {
  setText($('ask-title'), title);
  setText($('ask-text'), text);
  setText($('ask-yes'), yes);
  setText($('ask-error'), '');
  onYes = path;
  $('ask').showModal();
}

async function say(path) {
  $('ask-yes').disabled = true;
  try {
    await ask(path, 'POST');
    $('ask').close();
    poll();
  } catch (error) {
    setText($('ask-error'), error.message);
  } finally {
    $('ask-yes').disabled = false;
  }
}

// ---- The round ----

function askForToken(error) {
  const shown = sessionStorage.getItem(TOKEN) !== null;
  $('content').hidden = true;
  $('forget').hidden = true;
  if (!$('login').hidden && !shown) return;
  $('login').hidden = false;
  setText($('login-error'), shown ? error.message : '');
  sessionStorage.removeItem(TOKEN);
  setText($('link'), 'It asks for credentials.');
  $('token').focus();
}

async function look() {
  const state = await ask(`/api/state?ended=${$('ended').checked ? 1 : 0}&after=${lastEvent}`);
  if (epoch !== null && state.epoch !== epoch) {
    events = [];
    lastEvent = 0;
    epoch = state.epoch;
    return look();
  }
  epoch = state.epoch;
  let job = null, log = null;
  if (chosen !== null) {
    try {
      job = await ask(`/api/job?id=${encodeURIComponent(chosen)}&series=1`);
      fillRanks(job);
      if ($('log-part').open) log = await askLog();
    } catch (error) {
      if (![400, 404].includes(error.status)) throw error;
      chosen = null;
    }
  }
  return {state, job, log};
}

function show({state, job, log}) {
  mayEnd = state.may_end;
  $('login').hidden = true;
  $('content').hidden = false;
  $('forget').hidden = sessionStorage.getItem(TOKEN) === null;
  showJobs(state);
  if (job !== null) showJob(job);
  else hideJob();
  if (log !== null) showLog(log);
  showWorkers(state);
  takeEvents(state.events);
  showEvents();
  setText($('link'), `As of ${clock(state.now_us)}`);
  setClass($('link'), '');
}

async function poll() {
  clearTimeout(timer);
  const mine = ++round;
  try {
    const seen = await look();
    if (mine === round) show(seen);
  } catch (error) {
    if (mine !== round) return;
    if (error.status === 401) return askForToken(error);
    setText($('link'), error instanceof Refused ? error.message : 'The coordinator does not answer. Trying again…');
    setClass($('link'), 'away');
  }
  timer = setTimeout(poll, document.hidden ? HIDDEN_MS : EVERY_MS);
}

async function onHash(moves) {
  const [, name] = location.hash.match(/^#job=([A-Za-z0-9._-]{1,64})$/) ?? [];
  if (name === undefined || name === chosen) return;
  chosen = name;
  await poll();
  if (!moves || chosen !== name) return;
  $('job').scrollIntoView();
  $('job').focus({preventScroll: true});
}

$('login-form').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $('token').value.trim());
  $('token').value = '';
  poll();
});
$('forget').addEventListener('click', () => {
  sessionStorage.removeItem(TOKEN);
  location.replace(location.pathname);
});
$('ended').addEventListener('change', poll);
$('log-part').addEventListener('toggle', poll);
$('log-rank').addEventListener('change', poll);
$('only-job').addEventListener('change', showEvents);
$('ask-no').addEventListener('click', () => $('ask').close());
$('ask-yes').addEventListener('click', () => say(onYes));
$('job-cancel').addEventListener('click', () => confirm(`Cancel ${shownJob.id}?`,
    'Its ranks are stopped at once, without a checkpoint. What they did since the last one is lost.', 'Cancel the job',
    `/api/cancel?job=${shownJob.id}`));
$('job-drain').addEventListener('click', () => confirm(`Drain ${shownJob.id}?`, 'It ends after a checkpoint.', 'Drain the job',
    `/api/drain?job=${shownJob.id}`));
window.addEventListener('hashchange', () => onHash(true));
document.addEventListener('visibilitychange', () => document.hidden || poll());
poll();
onHash(false);
