// The head view: queries on the left, keys on the right, a line for each weight, a colour for each head.

const MOST_LINES = 10000; // what is drawn of all tokens at once where there are more: the strongest
const WORST_ERROR = 0.1; // of a divided row, from which on rounding hides what it was
const LEAST_STEP = 10; // of the threshold's hundred steps: (10 / 100)^2 = 0.01, as in bertattn.figures
const LISTED = 5;

const state = {
  part: 0,
  layer: data.start.layer,
  layers: [],
  heads: [],
  average: "none",
  unit: "token",
  special: true,
  renormalise: false,
  pair: "all",
  threshold: null,
  stretch: false,
  gold: data.start.gold,
  reversed: false,
  row: 18,
};
// What the last change gave: groups (one a head, or their mean), the tokens of both sides that are shown, lines (the
// strongest) and how many there are.
let now = { groups: [], queries: [], keys: [], lines: [], found: 0, gold: [] };
let held = null; // {side, index}: the token that a click holds, index among those shown
let pointed = null; // the one under the pointer, or where the keyboard is
let counts = { lines: 0, cells: 0, gold: 0 };
let change = 0;

const about = () => data.parts[state.part];
const axes = () => (state.unit === "word" ? about().words : about());
const queryAxis = () => axes().queries;
const keyAxis = () => axes().keys ?? axes().queries;

// ------------------------------------------------------------------------------------------------------------ numbers

/** Between words: the sum over a key word's tokens (a token of several gives each its share), the mean over a query's. */
function mergedIntoWords(matrix) {
  const [tokens, words] = [about(), about().words];
  const [queryMembers, keyMembers] = [words.queries.members, (words.keys ?? words.queries).members];
  const keys = (tokens.keys ?? tokens.queries).tokens.length;
  const uses = new Float32Array(keys);
  for (const members of keyMembers) for (const j of members) uses[j] += 1;
  const merged = new Float32Array(queryMembers.length * keyMembers.length);
  queryMembers.forEach((rows, u) => {
    keyMembers.forEach((columns, w) => {
      let sum = 0;
      for (const i of rows) for (const j of columns) sum += matrix[i * keys + j] / uses[j];
      merged[u * keyMembers.length + w] = sum / rows.length;
    });
  });
  return merged;
}

/** The mean of matrices, row by row over those in which the row has mass; `column` is one that is shown. */
function meanOf(matrices, columns, column) {
  const sum = new Float32Array(matrices[0].length);
  const rows = sum.length / columns;
  const count = new Float32Array(rows);
  for (const matrix of matrices) {
    for (let i = 0; i < rows; i += 1) {
      if (Number.isNaN(matrix[i * columns + column])) continue;
      count[i] += 1;
      for (let n = i * columns; n < (i + 1) * columns; n += 1) sum[n] += matrix[n];
    }
  }
  for (let n = 0; n < sum.length; n += 1) sum[n] /= count[Math.floor(n / columns)];
  return sum;
}

/**
 * Each row among the keys shown divided by its sum, and how far its shares may be from those of the computed weights:
 * with w of m known to e_j, and m to e, the share w / m is known to (e_j (m - w) + (e - e_j) w) / (m (m - e)). That is
 * NaN where there is no mass, and infinite where all of it may be rounding.
 */
function renormalised(matrix, errors, columns, queries, keys) {
  const values = new Float32Array(matrix.length).fill(NaN);
  const off = new Float32Array(matrix.length / columns).fill(NaN);
  for (const i of queries) {
    let [mass, slack] = [0, 0];
    for (const j of keys) {
      mass += matrix[i * columns + j];
      slack += errors[i * columns + j];
    }
    if (Number.isNaN(mass) || keys.length === 0) continue;
    off[i] = mass > slack ? 0 : Infinity;
    if (mass <= slack) continue;
    for (const j of keys) {
      const [share, error] = [matrix[i * columns + j] / mass, errors[i * columns + j]];
      values[i * columns + j] = share;
      off[i] = Math.max(off[i], (error * (1 - share) + (slack - error) * share) / (mass - slack));
    }
  }
  return { values, off };
}

/** How far means of divided rows may be off: the mean of the rows that are known, and the share of those that are not. */
function meanError(offs) {
  return offs[0].map((_, i) => {
    const all = offs.map((off) => off[i]).filter((off) => !Number.isNaN(off));
    const known = all.filter(Number.isFinite);
    if (known.length === 0) return all.length ? Infinity : NaN;
    return known.reduce((sum, off) => sum + off, 0) / known.length + 1 - known.length / all.length;
  });
}

/** Rows that rounding may have changed too much are left out, and counted. */
function leaveOutUnsure({ values, off }, columns, queries) {
  const unsure = queries.filter((i) => off[i] > WORST_ERROR);
  for (const i of unsure) values.fill(NaN, i * columns, (i + 1) * columns);
  return unsure.length;
}

function headName(layer, head) {
  return `${about().layers[layer]}-${about().heads[head]}`;
}

/** One group a chosen head, or one for their mean: name, colour, values, and how far divided rows may be off. */
async function makeGroups(queries, keys) {
  const { part, heads, average, unit, renormalise } = state;
  const layers = average === "layers" ? state.layers : [state.layer];
  const columns = keyAxis().tokens.length;
  const merged = unit === "word" ? mergedIntoWords : (matrix) => matrix;
  const found = [];
  for (const layer of layers) {
    const held = await weights(layer, part);
    for (const head of heads) {
      const values = merged(held.matrix(head));
      found.push({
        name: headName(layer, head),
        color: () => palette(head),
        // Before the mean, as drop_special does it.
        ...(renormalise ? renormalised(values, merged(held.errors(head)), columns, queries, keys) : { values }),
      });
    }
  }
  if (average === "none" || found.length === 0) return found;
  return [
    {
      name: found.length === 1 ? found[0].name : `mean of ${found.length} heads`,
      color: () => color("--accent"),
      values: meanOf(
        found.map((group) => group.values),
        columns,
        keys[0],
      ),
      off: renormalise ? meanError(found.map((group) => group.off)) : undefined,
    },
  ];
}

function shownTokens(axis, segment) {
  const kept = [];
  axis.tokens.forEach((_, i) => {
    if (!state.special && axis.special[i]) return;
    if (segment !== undefined && axis.segments[i] !== segment) return;
    kept.push(i);
  });
  return kept;
}

/** Everything anew after a change; an older change that is still inflating its layer gives way. */
async function update() {
  change += 1;
  const mine = change;
  const segments = { all: [], aa: [0, 0], ab: [0, 1], ba: [1, 0], bb: [1, 1] }[state.pair];
  const queries = shownTokens(queryAxis(), segments[0]);
  const keys = shownTokens(keyAxis(), segments[1]);
  const groups = await makeGroups(queries, keys);
  if (mine !== change) return;
  const same = (a, b) => a.length === b.length && a.every((n, i) => n === b[i]);
  const moved = now.axes !== axes() || !same(now.queries, queries) || !same(now.keys, keys);
  now = { groups, queries, keys, columns: keyAxis().tokens.length, axes: axes() };
  now.unsureRows = state.renormalise ? groups.reduce((n, g) => n + leaveOutUnsure(g, now.columns, queries), 0) : 0;
  measure();
  now.gold = goldLinks();
  thresholdControl.set(Math.round(100 * Math.sqrt(now.threshold)));
  if (moved) fillColumns();
  listGold();
  draw();
}

/** After a change by hand: the picture anew, and what is shown said. */
function changed() {
  update().then(() => announce(summary()), complain);
}

/** Every weight shown, with the numbers of its group, query and key among those shown. */
function eachWeight(visit) {
  now.groups.forEach(({ values }, g) => {
    now.queries.forEach((query, i) => {
      const start = query * now.columns;
      for (let j = 0; j < now.keys.length; j += 1) visit(values[start + now.keys[j]], g, i, j);
    });
  });
}

const strength = (value) => Math.min(1, Math.abs(value) / now.scale);
const isLine = (value) => value !== 0 && strength(value) >= now.threshold;

/** What the weights shown are divided by, which of them are lines, and how many rows have no mass. */
function measure() {
  const layers = state.average === "layers" ? state.layers : [state.layer];
  const tops = layers.map((layer) => about().coding[layer].top);
  now.scale = about().normalized ? 1 : Math.max(...tops, 0) || 1;
  const tally = new Uint32Array(101); // how many lines begin at each step of the threshold
  let largest = 0;
  now.undefinedRows = -now.unsureRows;
  eachWeight((value, _g, _i, j) => {
    if (Number.isNaN(value)) {
      now.undefinedRows += j === 0;
    } else if (value !== 0) {
      tally[Math.floor(100 * Math.sqrt(strength(value)))] += 1;
      largest = Math.max(largest, Math.abs(value));
    }
  });
  now.opaque = state.stretch ? largest || 1 : now.scale;
  now.threshold = state.threshold ?? fittingThreshold(tally);
  now.error = 0;
  for (const { off } of now.groups)
    for (const i of now.queries) if (off?.[i] <= WORST_ERROR) now.error = Math.max(now.error, off[i]);
  collectLines();
}

/** The lines in their order; of more than can be drawn at once the strongest. */
function collectLines() {
  now.found = 0;
  eachWeight((value) => {
    now.found += isLine(value);
  });
  let [least, ties] = [0, Infinity]; // how strong a line must be, and how many that are just so strong there is room for
  if (now.found > MOST_LINES) {
    const strengths = new Float32Array(now.found);
    let n = 0;
    eachWeight((value) => {
      if (isLine(value)) strengths[n++] = Math.abs(value);
    });
    strengths.sort();
    least = strengths[now.found - MOST_LINES];
    ties = MOST_LINES - strengths.filter((each) => each > least).length;
  }
  now.lines = [];
  eachWeight((value, g, i, j) => {
    const size = Math.abs(value);
    if (isLine(value) && (size > least || (size === least && ties-- > 0))) now.lines.push({ g, i, j, value });
  });
}

/** The lines that are drawn: of a token all of its own. */
function linesOf(token) {
  if (token === null) return now.lines;
  const found = [];
  now.groups.forEach((_, g) => {
    (token.side === "query" ? now.keys : now.queries).forEach((__, other) => {
      const [i, j] = token.side === "query" ? [token.index, other] : [other, token.index];
      const value = shownWeight(g, i, j);
      if (isLine(value)) found.push({ g, i, j, value });
    });
  });
  return found;
}

/** The lowest threshold that leaves no more lines than can be drawn at once. */
function fittingThreshold(tally) {
  let step = 100;
  let lines = tally[step];
  while (step > LEAST_STEP && lines + tally[step - 1] <= MOST_LINES) {
    step -= 1;
    lines += tally[step];
  }
  return (step / 100) ** 2;
}

/** The weight shown between two tokens, counted among those shown. */
function shownWeight(g, i, j) {
  return now.groups[g].values[now.queries[i] * now.columns + now.keys[j]];
}

/** Gold links as {i, j, label, group}, among the tokens shown. */
function goldLinks() {
  const links = state.gold === null ? [] : (about().gold[state.gold] ?? []);
  const places = (axis, kept) => {
    const byWord = new Map();
    kept.forEach((token, place) => {
      const word = axis.words[token];
      // A word's first token stands for it.
      if (word !== null && axis.words.indexOf(word) === token) byWord.set(word, place);
    });
    return byWord;
  };
  const [queries, keys] = [places(queryAxis(), now.queries), places(keyAxis(), now.keys)];
  return links
    .map(({ from, to, label, group }) => {
      const [i, j] = state.reversed ? [queries.get(to), keys.get(from)] : [queries.get(from), keys.get(to)];
      return { i, j, label, group };
    })
    .filter((link) => link.i !== undefined && link.j !== undefined);
}

// ------------------------------------------------------------------------------------------------------------ drawing

const canvas = el("canvas", { "aria-hidden": "true" });
const field = el("div", { class: "lines" }, canvas);
const status = el("p", { class: "status" });
const columns = { query: column("query"), key: column("key") };
const stage = el("div", { class: "stage" }, columns.query, field, columns.key);
const WHOLE_CANVAS = 8192;

const active = () => pointed ?? held;
const touches = (item) => active() === null || (active().side === "query" ? item.i : item.j) === active().index;

/** Lines, cells and gold between x = 0 and `width`, moved up by `top`. */
function drawInto(scene, { x = 0, y = 0, width, top = 0, height = Infinity }) {
  const token = active();
  const middle = (index) => y + (index + 0.5) * state.row - top;
  const seen = (a, b) => Math.max(a, b) >= y - state.row && Math.min(a, b) <= y + height + state.row;
  const cell = Math.max(2, Math.min(9, (0.35 * width) / Math.max(1, now.groups.length)));
  const margin = token === null ? 0 : cell * now.groups.length + 2;
  const [left, right] = [x + (token?.side === "key" ? margin : 0), x + width - (token?.side === "query" ? margin : 0)];
  const colors = now.groups.map((group) => group.color());
  const opacity = (value) => Math.min(1, Math.abs(value) / now.opaque);
  counts = { lines: 0, cells: 0, gold: 0 };
  for (const line of linesOf(token)) {
    counts.lines += 1;
    const [y1, y2] = [middle(line.i), middle(line.j)];
    if (seen(y1, y2))
      scene.line(left, y1, right, y2, {
        color: colors[line.g],
        alpha: opacity(line.value),
        dash: line.value < 0 ? [4, 3] : null,
      });
  }
  if (token !== null) {
    const others = token.side === "query" ? now.keys : now.queries;
    now.groups.forEach((_, g) => {
      others.forEach((__, other) => {
        const value = token.side === "query" ? shownWeight(g, token.index, other) : shownWeight(g, other, token.index);
        if (Number.isNaN(value)) return;
        counts.cells += 1;
        const at = middle(other);
        if (!seen(at, at)) return;
        const start = token.side === "query" ? right + 2 + g * cell : x + g * cell;
        scene.rect(start, at - state.row / 2 + 1, cell - 1, state.row - 2, { color: colors[g], alpha: opacity(value) });
      });
    });
  }
  for (const link of now.gold) {
    if (!touches(link)) continue;
    const ink = link.group === undefined ? color("--gold") : palette(link.group);
    counts.gold += 1;
    const [y1, y2, half] = [middle(link.i), middle(link.j), (left + right) / 2];
    if (!seen(y1, y2)) continue;
    const curve = `M ${left} ${y1} C ${half} ${y1} ${half} ${y2} ${right} ${y2}`;
    scene.path(curve, { color: color("--paper"), width: 4, alpha: 0.8 });
    scene.path(curve, { color: ink, width: 2 });
    if (link.group !== undefined) {
      for (const [edge, at] of [
        [left, y1],
        [right - 5, y2],
      ])
        scene.rect(edge, at - state.row / 2 + 2, 5, state.row - 4, { color: ink });
    } else if (state.row >= 11) {
      scene.text(left + 4, y1, shown(link.label), {
        color: ink,
        size: Math.min(11, state.row - 4),
        halo: color("--paper"),
      });
    }
  }
}

let frame = 0;
let picture = null; // the last one without a token in question, which comes back at once when the pointer leaves

/** Draw in the next frame. */
function later() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(draw);
}

function draw() {
  const width = field.clientWidth;
  const total = Math.max(now.queries.length, now.keys.length) * state.row;
  field.style.height = `${total}px`;
  const fits = total * devicePixelRatio <= WHOLE_CANVAS;
  const [top, height] = fits ? [0, total] : [stage.scrollTop, stage.clientHeight];
  const key = [width, top, height, state.row, devicePixelRatio].join(" ");
  if (active() === null && picture?.now === now && picture.key === key) {
    sized(canvas, width, height).drawImage(picture.copy, 0, 0, width, height);
    counts = picture.counts;
  } else {
    const scene = new Scene(width, height);
    drawInto(scene, { width, top, height });
    scene.toCanvas(canvas);
    if (active() === null) {
      const copy = el("canvas", { width: canvas.width, height: canvas.height });
      copy.getContext("2d").drawImage(canvas, 0, 0);
      picture = { now, key, counts, copy };
    }
  }
  mark();
}

/** The picture with its tokens and title, all of it. */
function makeScene() {
  const [left, middle, right] = [columns.query.offsetWidth, field.clientWidth, columns.key.offsetWidth];
  const heading = 48;
  const total = Math.max(now.queries.length, now.keys.length) * state.row;
  const scene = new Scene(left + middle + right, heading + total + 8, color("--paper"));
  const ink = color("--ink");
  scene.text(8, 16, whole(data.title), { color: ink, size: 14, weight: "600" });
  scene.text(8, 34, summary(), { color: color("--faint"), size: 11 });
  drawInto(scene, { x: left, y: heading, width: middle });
  const size = Math.min(13, 0.72 * state.row);
  for (const [side, kept, axis, x, anchor] of [
    ["query", now.queries, queryAxis(), left - 6, "end"],
    ["key", now.keys, keyAxis(), left + middle + 6, "start"],
  ]) {
    kept.forEach((token, place) => {
      const weight = active()?.side === side && active().index === place ? "600" : "normal";
      scene.text(x, heading + (place + 0.5) * state.row, shown(axis.tokens[token]), {
        color: ink,
        size,
        anchor,
        weight,
      });
    });
  }
  return scene;
}

/** What is shown, in words. */
function summary() {
  const layers = state.average === "layers" ? state.layers : [state.layer];
  const names = layers.map((layer) => about().layers[layer]).join(", ");
  const heads = state.heads.map((head) => about().heads[head]).join(", ");
  const count = (number) => number.toLocaleString("en");
  const cut = now.lines.length < now.found ? `the ${count(now.lines.length)} strongest of ` : "";
  const lines = `${cut}${count(now.found)} lines of at least ${digits(now.threshold * now.scale)}`;
  const divided = state.renormalise ? `, divided by what is shown (rounding changes at most ${digits(now.error)})` : "";
  const empty = now.undefinedRows ? `, ${now.undefinedRows} rows without mass left out` : "";
  const unsure = now.unsureRows ? `, ${now.unsureRows} rows left out: too little mass to tell from rounding` : "";
  return `${about().name ? `${about().name}, ` : ""}layer ${names}, head ${heads || "none"}${state.average === "none" ? "" : ", averaged"}: ${lines}${divided}${empty}${unsure}`;
}

/** A gold link in words. */
function goldText({ i, j, label, group }) {
  const [query, key] = [queryAxis().tokens[now.queries[i]], keyAxis().tokens[now.keys[j]]].map(
    (token) => `\u2068${whole(token)}\u2069`,
  );
  const [from, to] = state.reversed ? [key, query] : [query, key];
  if (group !== undefined) return `${from} corefers with ${to} (entity ${whole(label)})`;
  return `${from} is ${label ? whole(label) : "a dependent"} of ${to}`;
}

const goldItems = el("ul", { class: "faint" });
const goldList = el("details", { hidden: "" }, el("summary", { text: "Gold links in words" }), goldItems);

function listGold() {
  goldItems.replaceChildren(...now.gold.map((link) => el("li", { dir: "auto", text: goldText(link) })));
  goldList.hidden = now.gold.length === 0;
}

/** What gold says of the token in question. */
function goldSaid() {
  const links = now.gold.filter(touches).slice(0, LISTED);
  return links.length ? `; gold: ${links.map(goldText).join(", ")}` : "";
}

/** The token in question: its strongest links, as {name, value, token}. */
function strongest({ side, index }) {
  const others = side === "query" ? now.keys : now.queries;
  const axis = side === "query" ? keyAxis() : queryAxis();
  const found = [];
  now.groups.forEach((group, g) => {
    others.forEach((token, other) => {
      const value = side === "query" ? shownWeight(g, index, other) : shownWeight(g, other, index);
      if (!Number.isNaN(value)) found.push({ name: group.name, value, token: axis.tokens[token] });
    });
  });
  return found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, LISTED);
}

/** Why there is no link. */
function nothing({ side, index }) {
  if (now.groups.length === 0) return "no head is chosen";
  if (side === "key") return "nothing: no row has mass";
  const unsure = now.groups.some(({ off }) => off?.[now.queries[index]] > WORST_ERROR);
  return unsure ? "nothing: too little mass to tell from rounding" : "nothing: row without mass";
}

function mark() {
  for (const side of ["query", "key"]) {
    [...columns[side].children].forEach((option, index) => {
      const isHeld = held?.side === side && held.index === index;
      option.classList.toggle("held", isHeld);
      option.classList.toggle("active", active()?.side === side && active().index === index);
      option.setAttribute("aria-selected", String(isHeld));
    });
  }
  const token = active();
  if (token === null) {
    status.replaceChildren(summary());
    return;
  }
  const [arrow, axis, kept] = token.side === "query" ? ["→", queryAxis(), now.queries] : ["←", keyAxis(), now.keys];
  const found = strongest(token);
  status.replaceChildren(
    tokenElement("b", axis.tokens[kept[token.index]]),
    ` ${arrow} `,
    found.length ? "" : nothing(token),
    ...found.flatMap(({ name, value, token }, n) => [
      n ? ", " : "",
      tokenElement("span", token),
      ` ${digits(value)}${now.groups.length > 1 ? ` (${name})` : ""}`,
    ]),
    goldSaid(),
  );
}

// ------------------------------------------------------------------------------------------------------------- tokens

function column(side) {
  const move = (index) => {
    const size = (side === "query" ? now.queries : now.keys).length;
    if (size) point(side, Math.max(0, Math.min(size - 1, index)), true);
  };
  const keydown = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const index = atKey ?? (held?.side === side ? held.index : -1);
    const page = Math.max(1, Math.floor(stage.clientHeight / state.row) - 1);
    const moves = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      PageDown: index + page,
      PageUp: index - page,
      Home: 0,
      End: Infinity,
    };
    if (event.key in moves) move(moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") hold(side, Math.max(0, index));
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight")
      columns[event.key === "ArrowLeft" ? "query" : "key"].focus();
    else return;
    event.preventDefault();
  };
  let atKey = null; // where the keyboard is, to come back to when the mouse leaves
  const unpoint = () => {
    pointed = document.activeElement === made && atKey !== null ? { side, index: atKey } : null;
    later();
  };
  const leave = () => {
    made.atKey(null);
    unpoint();
  };
  const indexOf = (event) => [...made.children].indexOf(event.target.closest("li"));
  const made = el("ul", {
    class: `column ${side === "query" ? "queries" : "keys"}`,
    role: "listbox",
    tabindex: 0,
    "aria-label": side === "query" ? "Queries: the tokens that attend" : "Keys: the tokens attended to",
    on: {
      keydown,
      mouseover: (event) => indexOf(event) >= 0 && point(side, indexOf(event), false),
      mouseleave: unpoint,
      click: (event) => {
        if (indexOf(event) < 0) return;
        made.atKey(null);
        hold(side, indexOf(event));
        // A finger leaves no token when it goes, so what it lets go must not stay pointed at.
        if (held === null) pointed = null;
      },
      blur: leave,
    },
  });
  made.atKey = (index) => {
    atKey = index;
    if (index === null) made.removeAttribute("aria-activedescendant");
    else made.setAttribute("aria-activedescendant", made.children[index].id);
  };
  return made;
}

function fillColumns() {
  held = pointed = null;
  for (const [side, kept, axis] of [
    ["query", now.queries, queryAxis()],
    ["key", now.keys, keyAxis()],
  ]) {
    columns[side].atKey(null);
    columns[side].replaceChildren(
      ...kept.map((token, place) => tokenElement("li", axis.tokens[token], { role: "option", id: `${side}-${place}` })),
    );
  }
}

function point(side, index, byKey) {
  pointed = { side, index };
  if (byKey) {
    const option = columns[side].children[index];
    columns[side].atKey(index);
    option.scrollIntoView({ block: "nearest" });
    speak();
  }
  later();
}

function hold(side, index) {
  held = held?.side === side && held.index === index ? null : { side, index };
  speak();
  later();
}

function release() {
  held = pointed = null;
  announce("no token held");
  later();
}

/** Tell screen readers what the status line shows. */
function speak() {
  const token = active();
  if (token === null) return;
  const isHeld = held?.side === token.side && held.index === token.index;
  const to = token.side === "query" ? "to" : "from";
  const links = strongest(token).map(
    ({ name, value, token }) => `${to} \u2068${whole(token)}\u2069 ${digits(value)} in ${name}`,
  );
  announce(`${isHeld ? "held; " : ""}${links.join(", ") || nothing(token)}${goldSaid()}`);
}

// ----------------------------------------------------------------------------------------------------------- controls

const bar = el("div", { class: "bar" });
let thresholdControl = null;
let headControl = null;

function fillBar() {
  const part = about();
  const set = (name) => (value) => {
    state[name] = value;
    changed();
  };
  const layerChoices = part.layers.map((number, value) => ({ label: String(number), value }));
  const layer = control.select("Layer", layerChoices, state.layer, set("layer"));
  const layers = control.toggles("Layers", layerChoices, state.layers, set("layers"));
  headControl = control.toggles(
    "Heads",
    part.heads.map((number, value) => ({
      label: String(number),
      value,
      title: `Head ${number}; double click or key O: this one alone`,
      color: () => palette(value),
    })),
    state.heads,
    set("heads"),
  );
  const showLayers = () => {
    layers.hidden = state.average !== "layers";
    layer.hidden = !layers.hidden;
  };
  const average = control.select(
    "Average",
    [
      { label: "none", value: "none" },
      { label: "chosen heads", value: "heads" },
      { label: "chosen heads and layers", value: "layers" },
    ],
    state.average,
    (value) => {
      state.average = value;
      showLayers();
      changed();
    },
  );
  showLayers();
  thresholdControl = control.slider(
    "Threshold",
    { value: 0, format: (step) => digits((step / 100) ** 2 * (now.scale ?? 1)) },
    (step) => set("threshold")((step / 100) ** 2),
  );
  const row = control.slider(
    "Row height",
    { min: 3, max: 30, value: state.row, format: (value) => `${value} px` },
    (value) => {
      state.row = value;
      document.documentElement.style.setProperty("--row", `${value}px`);
      later();
    },
  );
  const bars = [
    el(
      "div",
      { class: "bar" },
      data.parts.length > 1
        ? control.select(
            "Attention",
            data.parts.map(({ name }, value) => ({ label: name, value })),
            state.part,
            choosePart,
          )
        : null,
      part.layers.length > 1 ? layer : null,
      layers,
      average,
      part.words
        ? control.buttons(
            "Unit",
            [
              { label: "tokens", value: "token" },
              { label: "words", value: "word" },
            ],
            state.unit,
            set("unit"),
          )
        : null,
    ),
    el("div", { class: "bar" }, headControl),
    el(
      "div",
      { class: "bar" },
      ...filters(part, set),
      thresholdControl,
      control.checkbox("Strongest opaque", state.stretch, set("stretch")),
      row,
      saveButtons(makeScene, "head-view"),
    ),
  ];
  bar.replaceChildren(...bars);
}

function filters(part, set) {
  const key = part.keys ?? part.queries;
  const isPair = part.keys === null && part.queries.segments?.includes(0) && part.queries.segments.includes(1);
  const pairs = ["all", "aa", "ab", "ba", "bb"].map((value) => ({
    label: value === "all" ? "all" : `${value[0].toUpperCase()} → ${value[1].toUpperCase()}`,
    value,
  }));
  const gold = Object.keys(part.gold);
  return [
    isPair ? control.select("Sentences", pairs, state.pair, set("pair")) : null,
    [...part.queries.special, ...key.special].includes(true)
      ? control.checkbox("Special tokens", state.special, set("special"))
      : null,
    part.normalized ? control.checkbox("Rows divided by what is shown", state.renormalise, set("renormalise")) : null,
    gold.length
      ? control.select(
          "Gold",
          [{ label: "none", value: null }, ...gold.map((value) => ({ label: value, value }))],
          state.gold,
          set("gold"),
        )
      : null,
    gold.length ? control.checkbox("Gold reversed", state.reversed, set("reversed")) : null,
  ].filter(Boolean);
}

function choosePart(part) {
  const gold = Object.hasOwn(data.parts[part].gold, state.gold) ? state.gold : null;
  Object.assign(state, { part, layer: 0, unit: "token", pair: "all", threshold: null, renormalise: false, gold });
  everything();
  fillBar();
  bar.querySelector("select").focus(); // the one that was used, made anew
  changed();
}

/** All heads and layers of the part on. */
function everything() {
  state.layers = about().layers.map((_, i) => i);
  state.heads = about().heads.map((_, i) => i);
}

function notes() {
  const part = about();
  const words = part.words ? " Between words the errors of a word's tokens add." : "";
  return el(
    "details",
    {},
    el("summary", { text: "Keys, and what is shown" }),
    el("p", {
      class: "faint",
      text:
        `A line goes from a query (left) to a key (right); its opacity is the weight${part.normalized ? "" : " divided by the layer's largest"}` +
        " (with “Strongest opaque”, divided by the largest shown); negative weights are dashed. " +
        `The measure is ${part.measure}${data.model ? `, the model ${data.model}` : ""}. ${errorNote(Math.max(...data.parts.map(({ error }) => error)))}${words} ` +
        "Point at a token for its own lines; click, Enter or Space holds it, Escape lets go. In a column the arrow keys, Home, End, Page Up and Page Down move; Left and Right change the column.",
    }),
  );
}

start(async () => {
  everything();
  if (data.start.heads !== null) state.heads = data.start.heads;
  main.append(el("h1", { dir: "auto", text: whole(data.title) }), bar, status, stage, goldList, notes());
  fillBar();
  await update();
  stage.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(later).observe(stage);
  document.addEventListener("keydown", (event) => event.key === "Escape" && release());
  onTheme(() => {
    headControl.paint();
    picture = null;
    draw();
  });
});

window.bertattn = {
  /** As the page holds it: numbers of layer, head, query and key token count from 0. */
  weight: async (layer, head, i, j) => (await weights(layer, state.part)).at(head, i, j),
  /** As it is drawn: the number of the group, and of query and key among those shown. */
  value: shownWeight,
  state: () => ({
    ...state,
    held,
    pointed,
    threshold: now.threshold,
    groups: now.groups.map(({ name }) => name),
    queries: now.queries,
    keys: now.keys,
  }),
  drawn: () => ({ ...counts, undefinedRows: now.undefinedRows, unsureRows: now.unsureRows, error: now.error }),
  /** Where a line begins and ends, in pixels of the canvas as it lies on the page, while no token is held. */
  ends: (i, j) => ({ x1: 0, y1: (i + 0.5) * state.row, x2: field.clientWidth, y2: (j + 0.5) * state.row }),
};
