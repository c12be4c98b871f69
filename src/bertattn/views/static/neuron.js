// The neuron view: queries and keys are in the page, all else is computed from them, as the model computed it.

const ROW = 18;
const HEADER = 66; // above the rows: names, scales, the query vector
const WIDEST_LABEL = 200;
const GAP = 12;
const NUMBER = 62;
const BAR = 60;
const LEAST_WEIGHT = 0.01; // thinner lines are not drawn
const CHART = 112; // the two small charts of one query and key

const state = {
  part: 0,
  ...data.start,
  query: null,
  key: null,
  vectors: false,
  sorted: false,
  byWeight: false,
  dimension: null,
};
const pointed = { query: null, key: null };
let current = null; // the head that is shown: see headOf
let lines = 0;

const partOf = () => data.parts[state.part];
const keyAxis = (part) => part.keys ?? part.queries;

// ------------------------------------------------------------------------------------------------------- computing

/** The bytes of a mask, a bit for each query and key. */
const bits = (name) => once(`bits-${name}`, () => inflated(name));

/** One head: its vectors `[token * dimension]`, and for a query what stands between them and its weights. */
async function headOf(partNumber, layer, head) {
  const part = data.parts[partNumber];
  const step = part.steps[layer];
  const size = part.dimension;
  const [queries, keys] = [part.queries.tokens.length, keyAxis(part).tokens.length];
  const own = async (kept, length) => {
    if (kept === null) return null;
    const numbers = await array(kept.block, kept.written);
    if (numbers.length !== (kept.of.at(-1) + 1) * length) throw damaged();
    const start = kept.of[head] * length;
    return numbers.subarray(start, start + length);
  };
  const query = await own(step.query, queries * size);
  const key = await own(step.key, keys * size);
  const bias = await own(step.bias, queries * keys);
  const mask = step.mask && (await bits(step.mask.block));
  const masked = (i, j) => {
    if (!mask) return false;
    const n = (step.mask.of[head] * queries + i) * keys + j;
    return Boolean((mask[n >> 3] >> (7 - (n & 7))) & 1);
  };
  const sink = step.sinks?.[head] ?? null;
  const cap = step.softcap;
  const products = (i, j) => Float32Array.from({ length: size }, (_, d) => query[i * size + d] * key[j * size + d]);
  const rows = new Map();
  const row = (i) => {
    if (!rows.has(i)) rows.set(i, computed(i));
    return rows.get(i);
  };
  const computed = (i) => {
    const made = { dot: [], scaled: [], capped: [], bias: [], logit: [], weight: [], sink: 0 };
    for (let j = 0; j < keys; j += 1) {
      let dot = 0;
      for (let d = 0; d < size; d += 1) dot += query[i * size + d] * key[j * size + d];
      const scaled = step.scaling * dot;
      const capped = cap === null ? scaled : cap * Math.tanh(scaled / cap);
      const added = bias ? bias[i * keys + j] : 0;
      made.dot.push(dot);
      made.scaled.push(scaled);
      made.capped.push(capped);
      made.bias.push(added);
      made.logit.push(masked(i, j) ? -Infinity : capped + added);
    }
    const top = made.logit.reduce((a, b) => Math.max(a, b), sink ?? -Infinity);
    const powers = made.logit.map((logit) => Math.exp(logit - top));
    const outside = sink === null ? 0 : Math.exp(sink - top);
    const total = powers.reduce((a, b) => a + b, outside);
    made.weight = powers.map((power) => power / total);
    made.sink = outside / total;
    return made;
  };
  return {
    place: { part: partNumber, layer, head },
    part,
    step,
    size,
    queries,
    keys,
    query,
    key,
    bias,
    masked,
    sink,
    cap,
    products,
    row,
  };
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;

/** The keys that query i reaches, in the order chosen. */
function reached(i) {
  const found = [];
  for (let j = 0; j < current.keys; j += 1) if (!current.masked(i, j)) found.push(j);
  const { weight } = current.row(i);
  return state.byWeight ? found.sort((a, b) => weight[b] - weight[a]) : found;
}

/** The key that is held, or else the one with the most weight. */
function heldKey() {
  if (state.key !== null && !current.masked(state.query, state.key)) return state.key;
  const { weight } = current.row(state.query);
  return weight.reduce((best, value, j) => (value > weight[best] ? j : best), 0);
}

/** The key whose products the charts explain. */
const explainedKey = () => pointed.key ?? heldKey();

/** Dimensions in the model's order, or from what raises the logit of a key most to what lowers it most. */
function dimensions(key) {
  const order = Array.from({ length: current.size }, (_, d) => d);
  if (!state.sorted) return order;
  const products = current.products(state.query, key);
  return order.sort((a, b) => products[b] - products[a]);
}

const queryToken = (i) => current.part.queries.tokens[i];
const keyToken = (j) => keyAxis(current.part).tokens[j];

/** One query and key in words: every step from the products to the weight. */
function explanation(i, j) {
  const row = current.row(i);
  const steps = [`q · k = ${digits(row.dot[j])}`, `times ${digits(current.step.scaling)} = ${digits(row.scaled[j])}`];
  if (current.cap !== null) steps.push(`capped at ${digits(current.cap)} = ${digits(row.capped[j])}`);
  if (current.bias) steps.push(`with bias ${digits(row.bias[j])} = ${digits(row.logit[j])}`);
  steps.push(`softmax = ${digits(row.weight[j])}`);
  return `${shown(queryToken(i))} → ${shown(keyToken(j))}: ${steps.join(", ")}`;
}

/** One dimension in words. */
function explainedDimension(i, j, d) {
  const order = dimensions(j);
  const products = current.products(i, j);
  const sum = order.slice(0, order.indexOf(d) + 1).reduce((total, each) => total + products[each], 0);
  const [q, k] = [current.query[i * current.size + d], current.key[j * current.size + d]];
  return `dimension ${d + 1}: q ${digits(q)} × k ${digits(k)} = ${digits(products[d])}, sum so far ${digits(sum)}`;
}

// --------------------------------------------------------------------------------------------------------- drawing

let colors = {};

/** The style's colours; asking for them cell by cell would take most of the time. */
function readColors() {
  const names = ["paper", "ink", "faint", "rule", "held", "positive", "negative"];
  colors = {
    head: palette(current.place.head),
    ...Object.fromEntries(names.map((name) => [name, color(`--${name}`)])),
  };
}

const ruler = el("canvas").getContext("2d");

/** How wide a text is drawn. */
function widthOf(text, weight = "normal") {
  ruler.font = `${weight} 12px ${FONT}`;
  return ruler.measureText(text).width;
}

/** The room that the longest token takes. */
function labelWidth() {
  return once(`labels-${state.part}`, () => {
    const tokens = [...new Set([...current.part.queries.tokens, ...keyAxis(current.part).tokens])];
    return Math.min(WIDEST_LABEL, Math.ceil(Math.max(...tokens.map((token) => widthOf(shown(token), "bold"))))) + 16;
  });
}

/** Where the parts of a row stand in a picture of this width. */
function columnsOf(width) {
  const numbers = ["q · k", `× ${digits(current.step.scaling)}`];
  if (current.cap !== null) numbers.push(`cap ${digits(current.cap, 1)}`);
  if (current.bias) numbers.push("+ bias");
  if (current.cap !== null || current.bias) numbers.push("logit");
  const label = labelWidth();
  const least = label + 2 * GAP + (numbers.length + 1) * NUMBER + BAR;
  const room = Math.max(88, (width - least) / 2);
  const pixel = 1 / devicePixelRatio;
  const cell = Math.min(8, Math.max(pixel, Math.floor(room / current.size / pixel) * pixel));
  const strip = cell * current.size;
  const products = label + strip + GAP;
  const first = products + strip + GAP;
  return {
    numbers,
    label,
    cell,
    strip,
    products,
    first,
    weight: first + numbers.length * NUMBER,
    width: least + 2 * strip,
  };
}

/** A row of cells: the hue says the sign, the strength the size. */
function strip(scene, x, y, cell, values, most, height = ROW - 4) {
  values.forEach((value, n) => {
    const alpha = Math.sqrt(Math.min(1, Math.abs(value) / most));
    if (alpha < 0.02) return;
    scene.rect(x + n * cell, y, cell, height, { color: value < 0 ? colors.negative : colors.positive, alpha });
  });
}

/** What the strengths mean: from -most to most. */
function legend(scene, x, y, width, most, name) {
  const isNarrow = width < 190;
  scene.text(x, y, isNarrow ? `${name} ±${digits(most, 1)}` : name, {
    color: colors.ink,
    size: isNarrow ? 11 : 12,
    weight: "bold",
  });
  if (isNarrow) return;
  const values = Array.from({ length: 25 }, (_, n) => ((n - 12) / 12) * most);
  const start = x + width - 150;
  scene.text(start - 4, y, digits(-most, 2), { color: colors.ink, size: 11, anchor: "end" });
  strip(scene, start, y - 5, 4, values, most, 10);
  scene.text(start + 104, y, digits(most, 2), { color: colors.ink, size: 11 });
}

/** Names, scales and the query vector. */
function drawHeader(scene, at, width) {
  const i = state.query;
  const order = dimensions(heldKey());
  const query = order.map((d) => current.query[i * current.size + d]);
  scene.rect(0, 0, width, HEADER, { color: colors.paper });
  legend(scene, at.label, 9, at.strip, scales().query, "query q");
  scene.text(at.label - 8, 27, shown(queryToken(i)), { color: colors.ink, anchor: "end", weight: "bold" });
  strip(scene, at.label, 20, at.cell, query, scales().query);
  scene.rect(at.label, 20, at.strip, ROW - 4, { stroke: colors.rule });
  legend(scene, at.label, 52, at.strip, scales().key, "keys k");
  legend(scene, at.products, 52, at.strip, scales().product, "q × k");
  at.numbers.forEach((name, n) => {
    scene.text(at.first + (n + 1) * NUMBER - 6, 52, name, { color: colors.ink, anchor: "end", weight: "bold" });
  });
  scene.text(at.weight + NUMBER - 6, 52, "softmax", { color: colors.ink, anchor: "end", weight: "bold" });
  scene.line(0, HEADER - 2, width, HEADER - 2, { color: colors.rule, width: 1 });
}

/** One key: its vector, the products, the numbers, the weight. */
function drawKey(scene, at, y, j, order) {
  const i = state.query;
  const row = current.row(i);
  const middle = y + ROW / 2;
  const products = current.products(i, j);
  if (j === explainedKey()) {
    scene.rect(0, y, at.width, ROW, { color: colors.held });
    for (const x of [at.label, at.products]) scene.rect(x, y + 2, at.strip, ROW - 4, { color: colors.paper });
  }
  scene.text(at.label - 8, middle, shown(keyToken(j)), { color: colors.ink, anchor: "end" });
  const vector = order.map((d) => current.key[j * current.size + d]);
  strip(scene, at.label, y + 2, at.cell, vector, scales().key);
  strip(
    scene,
    at.products,
    y + 2,
    at.cell,
    order.map((d) => products[d]),
    scales().product,
  );
  const numbers = [row.dot[j], row.scaled[j]];
  if (current.cap !== null) numbers.push(row.capped[j]);
  if (current.bias) numbers.push(row.bias[j]);
  if (current.cap !== null || current.bias) numbers.push(row.logit[j]);
  numbers.push(row.weight[j]);
  numbers.forEach((value, n) => {
    scene.text(at.first + (n + 1) * NUMBER - 6, middle, digits(value, 2 + (n === numbers.length - 1)), {
      color: colors.ink,
      anchor: "end",
    });
  });
  const long = BAR * (row.weight[j] || 0);
  scene.rect(at.weight + NUMBER, y + 3, long, ROW - 6, { color: colors.head });
}

/** The largest sizes: of the head's queries and keys, and of the products that are shown. */
function scales() {
  current.largest ??= { query: largest(current.query), key: largest(current.key), products: new Map() };
  const { products } = current.largest;
  if (!products.has(state.query)) {
    products.set(
      state.query,
      reached(state.query).reduce((most, j) => Math.max(most, largest(current.products(state.query, j))), 0) || 1,
    );
  }
  return { ...current.largest, product: products.get(state.query) };
}

/** Two charts of one query and key: what each dimension adds, and the sum so far. */
function drawCharts(scene, x, y, width) {
  const [i, j] = [state.query, explainedKey()];
  const products = current.products(i, j);
  const order = dimensions(j);
  const half = (width - 24) / 2;
  let sum = 0;
  const sums = order.map((d) => (sum += products[d]));
  const charts = [
    { name: "q × k by dimension", values: order.map((d) => products[d]) },
    { name: half > 240 ? "sum so far, which ends at q · k" : "sum so far", values: sums },
  ];
  charts.forEach(({ name, values }, n) => {
    const left = x + n * (half + 24) + 48;
    const [top, bottom] = [y + 22, y + CHART - 8];
    const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)];
    const height = (value) => bottom - ((value - least) / (most - least || 1)) * (bottom - top);
    const cell = (half - 48) / values.length;
    scene.text(left, y + 9, name, { color: colors.ink, size: 12, weight: "bold" });
    const ticks = [least, 0, most].filter((value, t, all) => t === 1 || Math.abs(height(value) - height(all[1])) > 12);
    for (const value of ticks)
      scene.text(left - 6, height(value), digits(value, 2), { color: colors.faint, size: 11, anchor: "end" });
    scene.line(left, height(0), left + half - 48, height(0), { color: colors.faint, width: 1 });
    values.forEach((value, d) => {
      const [start, end] = [height(Math.max(0, value)), height(Math.min(0, value))];
      scene.rect(left + d * cell, start, Math.max(cell - 0.5, 0.5), end - start, {
        color: value < 0 ? colors.negative : colors.positive,
        alpha: d === state.dimension ? 0.55 : 1,
      });
    });
  });
}

/** The vectors: rows `from` to `to` of the keys in the order chosen, the first `offset` below the header. */
function drawVectors(scene, width, from, to, offset) {
  const at = columnsOf(width);
  const order = dimensions(heldKey());
  const keys = reached(state.query).slice(from, to);
  for (const [n, j] of keys.entries()) drawKey(scene, at, HEADER + offset + n * ROW, j, order);
  drawHeader(scene, at, at.width);
  return keys.length;
}

/** Whether a weight has a line: all, or those of the token that is pointed at or held. */
function isDrawn(i, j) {
  const query = pointed.query ?? (pointed.key === null ? state.query : null);
  const key = pointed.key ?? (pointed.query === null ? state.key : null);
  return (query === null || query === i) && (key === null || key === j) && current.row(i).weight[j] >= LEAST_WEIGHT;
}

/** Lines from queries to keys, as far as they cross what lies between two heights. */
function drawLines(scene, left, right, top, bottom) {
  let count = 0;
  for (let i = 0; i < current.queries; i += 1) {
    const start = (i + 0.5) * ROW;
    for (let j = 0; j < current.keys; j += 1) {
      const end = (j + 0.5) * ROW;
      if (Math.max(start, end) < top || Math.min(start, end) > bottom || !isDrawn(i, j)) continue;
      const alpha = current.row(i).weight[j];
      scene.line(left, start - top, right, end - top, { color: colors.head, alpha, width: 2 });
      count += 1;
    }
  }
  return count;
}

// -------------------------------------------------------------------------------------------------------- the page

const canvas = el("canvas");
const field = el("div", { class: "lines" }, canvas);
const columns = { query: column("query"), key: column("key") };
const stage = el("div", { class: "stage" }, columns.query, field, columns.key);
const status = el("p", { class: "status" });
const charts = el("canvas", { "aria-hidden": "true" });
const tip = el("div", { class: "tip", "aria-hidden": "true" });
const bar = el("div", { class: "bar" });
const table = el("tbody");
const names = el("tr");
const numbers = el(
  "details",
  { on: { toggle: fillTable } },
  el("summary", { text: "Numbers" }),
  el("table", {}, el("thead", {}, names), table),
);
let frame = 0;
let change = 0;

const headName = () => `${current.part.layers[current.place.layer]}-${current.part.heads[current.place.head]}`;

/** Draw in the next frame. */
function later() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(draw);
}

/** Rows of the vectors that lie in the stage: from, to, and how far the first is above the header's end. */
function rowsInSight() {
  const from = Math.floor(stage.scrollTop / ROW);
  return { from, to: from + Math.ceil((stage.clientHeight - HEADER) / ROW) + 1, offset: from * ROW - stage.scrollTop };
}

function draw() {
  readColors();
  columns.key.hidden = state.vectors;
  charts.hidden = !state.vectors;
  canvas.style.cursor = state.vectors ? "pointer" : "";
  for (const [name, value] of Object.entries(canvasRole())) canvas.setAttribute(name, value);
  if (state.vectors) {
    const room = stage.clientWidth - columns.query.offsetWidth;
    const width = Math.max(room, columnsOf(room).width);
    stage.style.gridTemplateColumns = `max-content ${width}px`;
    stage.style.overflowX = width > room ? "auto" : "";
    const keys = reached(state.query).length;
    field.style.height = `${Math.max(HEADER + keys * ROW, current.queries * ROW)}px`;
    const { from, to, offset } = rowsInSight();
    const scene = new Scene(width, Math.min(stage.clientHeight, HEADER + keys * ROW));
    lines = drawVectors(scene, room, from, to, offset);
    scene.toCanvas(canvas);
    const wide = new Scene(stage.clientWidth, CHART);
    drawCharts(wide, 0, 0, stage.clientWidth);
    wide.toCanvas(charts);
  } else {
    stage.style.gridTemplateColumns = "";
    stage.style.overflowX = "";
    const total = Math.max(current.queries, current.keys) * ROW;
    field.style.height = `${total}px`;
    const scene = new Scene(field.clientWidth, Math.min(total, stage.clientHeight));
    lines = drawLines(scene, 0, field.clientWidth, stage.scrollTop, stage.scrollTop + scene.height);
    scene.toCanvas(canvas);
  }
  mark();
}

/** What the canvas is: a picture, or the keys of one query to walk through. */
function canvasRole() {
  if (!state.vectors) return { role: "img", tabindex: -1, "aria-label": `Lines of head ${headName()}` };
  const label = `Query and key vectors of head ${headName()}; up and down choose a key, left and right a dimension`;
  return { role: "application", tabindex: 0, "aria-label": label };
}

function mark() {
  for (const side of ["query", "key"]) {
    [...columns[side].children].forEach((option, index) => {
      option.classList.toggle("held", state[side] === index);
      option.classList.toggle("active", pointed[side] === index);
      option.setAttribute("aria-selected", String(state[side] === index));
    });
    if (state[side] === null) columns[side].removeAttribute("aria-activedescendant");
    else columns[side].setAttribute("aria-activedescendant", `${side}-${state[side]}`);
  }
  status.textContent = sentence();
  fillTable();
}

/** What is shown, in words. */
function sentence() {
  const name = `Head ${headName()}`;
  if (state.vectors) return `${name}: ${explanation(state.query, explainedKey())}${unseen()}`;
  const query = pointed.query ?? state.query;
  if (query === null)
    return `${name}: point at a token for its lines; click a query, or press Enter on it, for its vectors.`;
  const best = current
    .row(query)
    .weight.map((weight, j) => ({ weight, j }))
    .sort((a, b) => b.weight - a.weight);
  return `${name}: ${shown(queryToken(query))} → ${best
    .slice(0, 5)
    .map(({ weight, j }) => `${shown(keyToken(j))} ${digits(weight)}`)
    .join(", ")}`;
}

/** The share of a sink, and keys that the mask hides. */
function unseen() {
  const hidden = current.keys - reached(state.query).length;
  const { sink } = current.row(state.query);
  return `${current.sink === null ? "" : `; ${digits(sink)} goes to the sink`}${hidden ? `; ${hidden} keys behind the mask are left out` : ""}`;
}

function fillTable() {
  const i = state.query ?? 0;
  const content = [state.part, state.layer, state.head, i, state.byWeight].join(" ");
  if (!numbers.open || table.dataset.content === content) return;
  table.dataset.content = content;
  const row = current.row(i);
  const wanted = [
    ["q · k", row.dot],
    [`times ${digits(current.step.scaling)}`, row.scaled],
  ];
  if (current.cap !== null) wanted.push([`capped at ${digits(current.cap)}`, row.capped]);
  if (current.bias) wanted.push(["bias", row.bias]);
  wanted.push(["logit", row.logit], ["softmax", row.weight]);
  const heading = (text) => el("th", { scope: "col", text });
  names.replaceChildren(tokenElement("th", queryToken(i), { scope: "col" }), ...wanted.map(([name]) => heading(name)));
  table.replaceChildren(
    ...reached(i).map((j) =>
      el(
        "tr",
        {},
        tokenElement("th", keyToken(j), { scope: "row" }),
        ...wanted.map(([, values]) => el("td", { text: digits(values[j], 4) })),
      ),
    ),
  );
}

/** Everything anew after another head, layer or attention was chosen; an older change gives way. */
async function update() {
  change += 1;
  const mine = change;
  const before = current;
  let head = null;
  try {
    head = await headOf(state.part, state.layer, state.head);
  } catch (error) {
    if (before === null) throw error;
    if (mine === change) goBack(error);
    return;
  }
  if (mine !== change) return;
  current = head;
  if (before?.part !== head.part) fillColumns();
  trouble.hidden = true;
  draw();
  if (before !== null) announce(sentence());
}

/** The head that was chosen cannot be read: the one before stays. */
function goBack(error) {
  const focused = [...bar.querySelectorAll("select")].indexOf(document.activeElement);
  Object.assign(state, current.place);
  fillBar();
  bar.querySelectorAll("select")[focused]?.focus();
  draw();
  complain(error);
}

function fillColumns() {
  for (const [side, axis] of [
    ["query", current.part.queries],
    ["key", keyAxis(current.part)],
  ]) {
    columns[side].replaceChildren(
      ...axis.tokens.map((token, i) => tokenElement("li", token, { role: "option", id: `${side}-${i}` })),
    );
  }
}

/** The picture that is saved: all rows, and the charts. */
function makeScene() {
  readColors();
  const title = `${whole(data.title)}, head ${headName()}`;
  if (!state.vectors) {
    const [left, middle, right] = [columns.query.offsetWidth, field.clientWidth, columns.key.offsetWidth];
    const scene = new Scene(
      left + middle + right,
      2 * ROW + Math.max(current.queries, current.keys) * ROW,
      colors.paper,
    );
    scene.text(8, ROW - 4, title, { color: colors.ink, size: 13, weight: "bold" });
    drawLines(scene, left, left + middle, -2 * ROW + ROW / 2, Infinity);
    const sides = [
      [current.part.queries, left - 6, "end"],
      [keyAxis(current.part), left + middle + 6, "start"],
    ];
    for (const [axis, x, anchor] of sides) {
      for (const [i, token] of axis.tokens.entries()) {
        scene.text(x, (i + 2) * ROW, shown(token), { color: colors.ink, anchor });
      }
    }
    return scene;
  }
  const room = stage.clientWidth - columns.query.offsetWidth;
  const text = `${title}: ${explanation(state.query, explainedKey())}`;
  const width = Math.ceil(Math.max(columnsOf(room).width, widthOf(text) + 8)) + 8;
  const bottom = HEADER + reached(state.query).length * ROW;
  const scene = new Scene(width, bottom + CHART + 2 * ROW, colors.paper);
  drawVectors(scene, room, 0, current.keys, 0);
  scene.text(8, bottom + ROW, text, { color: colors.ink, size: 12 });
  drawCharts(scene, 0, bottom + 1.5 * ROW, width);
  return scene;
}

// ----------------------------------------------------------------------------------------------------- interaction

function column(side) {
  const indexOf = (event) => [...made.children].indexOf(event.target.closest("li"));
  const point = (index) => {
    pointed[side] = index < 0 ? null : index;
    later();
  };
  const made = el("ul", {
    class: `column ${side === "query" ? "queries" : "keys"}`,
    role: "listbox",
    tabindex: 0,
    "aria-label": side === "query" ? "Queries: the tokens that attend" : "Keys: the tokens attended to",
    on: {
      mouseover: (event) => !state.vectors && point(indexOf(event)),
      mouseleave: () => point(-1),
      click: (event) =>
        indexOf(event) >= 0 && (side === "query" ? expand(indexOf(event)) : choose("key", indexOf(event))),
      keydown: (event) => steer(event, side),
    },
  });
  return made;
}

/** Whether a key belongs to the browser or the system: Alt and Left goes back a page. */
const isShortcut = (event) => event.ctrlKey || event.altKey || event.metaKey;

/** Arrow keys: up and down choose the token, left and right the head. */
function steer(event, side) {
  if (isShortcut(event)) return;
  const size = side === "query" ? current.queries : current.keys;
  const at = state[side] ?? -1;
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: size - 1 };
  if (event.key in moves) choose(side, Math.max(0, Math.min(size - 1, moves[event.key])), true);
  else if (event.key === "ArrowLeft" || event.key === "ArrowRight") turn(event.key === "ArrowLeft" ? -1 : 1);
  else if (side === "query" && (event.key === "Enter" || event.key === " ")) expand(Math.max(0, at), true);
  else if (event.key === "Escape") release();
  else return;
  event.preventDefault();
}

function choose(side, index, byKeyboard = false) {
  state[side] = !byKeyboard && state[side] === index ? null : index;
  if (side === "query") state.key = null;
  if (byKeyboard) columns[side].children[index].scrollIntoView({ block: "nearest" });
  draw();
  if (byKeyboard) announce(sentence());
}

/** The vectors of a query; once more, and they go. */
function expand(index, byKeyboard = false) {
  const goes = state.vectors && state.query === index;
  Object.assign(state, { vectors: !goes, query: goes && !byKeyboard ? null : index, key: null, dimension: null });
  Object.assign(pointed, { query: null, key: null });
  modeControl.set(state.vectors);
  draw();
  announce(sentence());
}

/** The next head, and after a layer's last one the first of the next layer. */
function turn(step) {
  const [heads, layers] = [partOf().heads.length, partOf().layers.length];
  const place = Math.max(0, Math.min(heads * layers - 1, state.layer * heads + state.head + step));
  Object.assign(state, { layer: Math.floor(place / heads), head: place % heads, dimension: null });
  fillBar();
  return update();
}

function release() {
  Object.assign(state, { vectors: false, query: null, key: null, dimension: null });
  Object.assign(pointed, { query: null, key: null });
  modeControl.set(false);
  draw();
  announce("no token held");
}

/** The key and the dimension under the pointer. */
function under(event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const { from, offset } = rowsInSight();
  const at = columnsOf(stage.clientWidth - columns.query.offsetWidth);
  const key = y < HEADER ? null : (reached(state.query)[from + Math.floor((y - HEADER - offset) / ROW)] ?? null);
  const inStrip = [at.label, at.products]
    .map((start) => Math.floor((x - start) / at.cell))
    .find((n) => n >= 0 && n < current.size);
  return { key, dimension: inStrip === undefined ? null : dimensions(heldKey())[inStrip] };
}

function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = text === "";
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(4, Math.min(room, event.clientX + 12))}px`;
  tip.style.top = `${event.clientY + 16}px`;
}

canvas.addEventListener("mousemove", (event) => {
  if (!state.vectors) return;
  const { key, dimension } = under(event);
  if (key !== pointed.key || dimension !== state.dimension) {
    pointed.key = key;
    state.dimension = dimension;
    later();
  }
  const of = key ?? heldKey();
  const pair = key === null ? "" : explanation(state.query, key);
  showTip(
    event,
    dimension === null ? pair : `${shown(keyToken(of))}, ${explainedDimension(state.query, of, dimension)}`,
  );
});
canvas.addEventListener("mouseleave", () => {
  tip.hidden = true;
  pointed.key = null;
  state.dimension = null;
  later();
});
canvas.addEventListener("click", (event) => {
  if (!state.vectors) return;
  const { key } = under(event);
  if (key !== null) choose("key", key);
});
canvas.addEventListener("keydown", (event) => {
  if (!state.vectors || isShortcut(event)) return;
  const keys = reached(state.query);
  const order = dimensions(heldKey());
  const moved = (list, value, step) => list[Math.max(0, Math.min(list.length - 1, list.indexOf(value) + step))];
  const vertical = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -keys.length, End: keys.length }[
    event.key
  ];
  const horizontal = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (vertical !== undefined) {
    state.key = moved(keys, heldKey(), vertical);
    const top = keys.indexOf(state.key) * ROW;
    stage.scrollTop = Math.max(Math.min(stage.scrollTop, top), top + HEADER + ROW - stage.clientHeight);
    announce(explanation(state.query, state.key));
  } else if (horizontal !== undefined) {
    state.dimension = moved(order, state.dimension, state.dimension === null && horizontal < 0 ? 0 : horizontal);
    announce(explainedDimension(state.query, heldKey(), state.dimension));
  } else if (event.key === "Escape") {
    columns.query.focus();
    release();
  } else return;
  event.preventDefault();
  draw();
});

// -------------------------------------------------------------------------------------------------------- controls

let modeControl = null;

bar.addEventListener("keydown", (event) => {
  // Escape closes the list of a select.
  if (event.key === "Escape" && state.vectors && !isShortcut(event) && event.target.tagName !== "SELECT") release();
});

function fillBar() {
  const part = partOf();
  const numbered = (list) => list.map((number, value) => ({ label: String(number), value }));
  const chosen = (name) => (value) => {
    state[name] = value;
    state.dimension = null;
    return update();
  };
  const choosePart = (value) => {
    Object.assign(state, { part: value, layer: 0, head: 0, query: null, key: null, vectors: false, dimension: null });
    fillBar();
    bar.querySelector("select").focus();
    return update();
  };
  const redraw = (name) => (value) => {
    state[name] = value;
    draw();
  };
  modeControl = control.buttons(
    "Show",
    [
      { label: "lines", value: false },
      { label: "vectors", value: true },
    ],
    state.vectors,
    (value) => {
      if (value !== state.vectors) expand(state.query ?? 0);
    },
  );
  bar.replaceChildren(
    ...[
      data.parts.length > 1
        ? control.select(
            "Attention",
            data.parts.map(({ name }, value) => ({ label: name, value })),
            state.part,
            choosePart,
          )
        : null,
      control.select("Layer", numbered(part.layers), state.layer, chosen("layer")),
      control.select("Head", numbered(part.heads), state.head, chosen("head")),
      modeControl,
      control.checkbox("Dimensions by what they add to the logit", state.sorted, redraw("sorted")),
      control.checkbox("Keys by weight", state.byWeight, redraw("byWeight")),
      saveButtons(makeScene, "neuron-view"),
    ].filter(Boolean),
  );
}

function notes() {
  const error = Math.max(...data.parts.flatMap(({ steps }) => steps.map((step) => step.error)));
  return el(
    "details",
    {},
    el("summary", { text: "Keys, and what is shown" }),
    el("p", {
      class: "faint",
      text:
        "Queries and keys are those after any rotation. Blue cells are positive, orange ones negative; the stronger, the larger. " +
        "q × k is multiplied dimension by dimension and sums to q · k; scaled, capped where the model caps it and with its bias it is the logit; the softmax of a row is the attention. " +
        `The vectors are rounded: weights made of them differ from the model's by at most ${error.toPrecision(2)}. Lines of less than ${LEAST_WEIGHT} are not drawn. ` +
        "Click a query, or press Enter on it, for its vectors; once more, or Escape, for the lines. Up and Down choose the token, Left and Right the head; on the vectors they choose the key and the dimension.",
    }),
  );
}

start(async () => {
  main.append(el("h1", { dir: "auto", text: whole(data.title) }), bar, status, stage, charts, numbers, notes(), tip);
  tip.hidden = true;
  fillBar();
  await update();
  stage.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(later).observe(stage);
  onTheme(later);
});

window.bertattn = {
  /** All numbers count from 0, as they lie in the page. */
  weight: async (layer, head, i, j) => (await headOf(state.part, layer, head)).row(i).weight[j],
  /** Every step from the products to the weight. */
  steps: async (layer, head, i, j) => {
    const made = await headOf(state.part, layer, head);
    const { dot, scaled, capped, bias, logit, weight, sink } = made.row(i);
    const numbers = {
      dot: dot[j],
      scaled: scaled[j],
      capped: capped[j],
      bias: bias[j],
      logit: logit[j],
      weight: weight[j],
    };
    return { products: [...made.products(i, j)], ...numbers, sink };
  },
  state: () => ({ ...state, pointed: { ...pointed } }),
  drawn: () => ({ [state.vectors ? "rows" : "lines"]: lines }),
};
