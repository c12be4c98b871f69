// The model view: a small picture of every head, layer by layer, any of which opens to a large one.

const FEWEST_PIXELS = 46; // narrower thumbnails show nothing: a narrow page scrolls sideways instead
const MOST_PIXELS = 220;
const WIDE = 64; // room for a number beside the name
const STRIP = 14;
const GAP = 3;
const MOST_ROWS = 48; // of a thumbnail; tokens beyond share rows
const FAINTEST = 1 / 256; // what no screen shows
const LEVELS = 16; // opacities that a saved thumbnail tells apart
const MOST_LINES = 10000; // of the large picture where no token is in question: the strongest
const LEAST_STEP = 10; // of the threshold's hundred steps: (10 / 100)^2 = 0.01
const LISTED = 5;
const PAGE = 10; // tokens that Page Up and Page Down pass
const ROW = 18; // of the large picture: --row in base.css
const CELL = 9;

// ------------------------------------------------------------------------------------------------------ what is drawn

/** Which tokens are shown: the numbers of the queries and of the keys, and whether what is left of a row sums to 1. */
function tokenChoices(part) {
  const keys = part.keys ?? part.queries;
  const every = (axis) => axis.tokens.map((_, i) => i);
  const ordinary = (axis) => every(axis).filter((i) => !axis.special[i]);
  const of = (axis, segment) => every(axis).filter((i) => axis.segments[i] === segment);
  const choices = [{ label: "all", value: "all", rows: every(part.queries), columns: every(keys) }];
  const without = { rows: ordinary(part.queries), columns: ordinary(keys) };
  const dropped = without.rows.length + without.columns.length < choices[0].rows.length + choices[0].columns.length;
  if (dropped && without.rows.length > 0 && without.columns.length > 0) {
    choices.push({ label: "not special", value: "ordinary", ...without });
    if (part.normalized) {
      choices.push({ label: "not special, renormalised", value: "renormalized", ...without, renormalize: true });
    }
  }
  const isPair = (axis) => axis.segments !== null && [0, 1].every((segment) => axis.segments.includes(segment));
  if (isPair(part.queries) && isPair(keys)) {
    for (const [a, from] of ["A", "B"].entries()) {
      for (const [b, to] of ["A", "B"].entries()) {
        choices.push({
          label: `${from} → ${to}`,
          value: `${from}${to}`,
          rows: of(part.queries, a),
          columns: of(keys, b),
        });
      }
    }
  }
  return choices;
}

/**
 * What the weights of each chosen query are multiplied by: 1, or renormalised 1 / (mass on the chosen keys). NaN for rows
 * without mass, and for the `lost`, which have no more on the chosen keys than rounding may have made of nothing; `worst`
 * is the most that rounding changes of a weight once it is divided. `steps` is what it changes of each code's.
 */
function sharesOf(layer, head, { rows, columns, renormalize = false }, steps) {
  const { codes, values, queries, keys } = layer;
  const found = { shares: new Float32Array(rows.length).fill(NaN), lost: new Set(), worst: 0 };
  for (const [n, query] of rows.entries()) {
    if (layer.isEmpty(head, query)) continue;
    found.shares[n] = 1;
    if (!renormalize) continue;
    const from = (head * queries + query) * keys;
    let [mass, error] = [0, 0];
    for (const key of columns) {
      mass += values[codes[from + key]];
      error += steps[codes[from + key]];
    }
    found.shares[n] = mass > error ? 1 / mass : NaN;
    if (mass > error) found.worst = Math.max(found.worst, error / mass);
    else found.lost.add(n);
  }
  return found;
}

/**
 * One head's weights [height * width], the chosen queries and keys in so many groups of neighbours: of distributions the
 * mean over a group's queries of the sum over its keys, of other measures the largest in size. Undefined rows do not
 * count; a group of nothing else is NaN.
 */
function grouped(layer, head, { rows, columns }, shares, height, width, additive) {
  const { codes, values, queries, keys } = layer;
  const result = new Float32Array(height * width);
  const counted = new Uint32Array(height);
  const group = columns.map((_, m) => Math.floor((m * width) / columns.length));
  for (const [n, query] of rows.entries()) {
    const share = shares[n];
    if (Number.isNaN(share)) continue;
    const from = (head * queries + query) * keys;
    const row = Math.floor((n * height) / rows.length);
    const to = row * width;
    counted[row] += 1;
    for (let m = 0; m < columns.length; m += 1) {
      const value = values[codes[from + columns[m]]];
      const place = to + group[m];
      if (additive) result[place] += share * value;
      else if (Math.abs(value) > Math.abs(result[place])) result[place] = value;
    }
  }
  for (let row = 0; row < height; row += 1) {
    const count = counted[row];
    for (let place = row * width; place < (row + 1) * width; place += 1) {
      if (count === 0) result[place] = NaN;
      else if (additive) result[place] /= count;
    }
  }
  return result;
}

/** How much of the paper shows through each pixel [x * height + y] once lines of these opacities are drawn on it. */
function throughLines(opacities, rows, columns, width, height, thickness) {
  const through = new Float32Array(width * height).fill(1);
  for (let row = 0; row < rows; row += 1) {
    const left = ((row + 0.5) * height) / rows;
    for (let column = 0; column < columns; column += 1) {
      const opacity = opacities[row * columns + column];
      if (opacity < FAINTEST) continue;
      const slope = (((column + 0.5) * height) / columns - left) / width;
      const reach = (thickness * Math.hypot(1, slope)) / 2;
      let top = left + slope / 2 - reach;
      for (let x = 0; x < width; x += 1, top += slope) {
        const bottom = top + 2 * reach;
        const last = Math.min(height - 1, Math.ceil(bottom) - 1);
        for (let y = Math.max(0, Math.floor(top)); y <= last; y += 1) {
          const covered = Math.min(bottom, y + 1) - Math.max(top, y);
          through[x * height + y] *= 1 - opacity * covered;
        }
      }
    }
  }
  return through;
}

/** The same of a matrix of cells. */
function throughCells(opacities, rows, columns, width, height) {
  const through = new Float32Array(width * height);
  for (let x = 0; x < width; x += 1) {
    const column = Math.floor(((x + 0.5) * columns) / width);
    for (let y = 0; y < height; y += 1) {
      const opacity = opacities[Math.floor(((y + 0.5) * rows) / height) * columns + column];
      through[x * height + y] = 1 - opacity;
    }
  }
  return through;
}

/** Lay colours over each other on a canvas: for each, what shows through it. */
function paintLayers(canvas, width, height, layers) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const [place, to] = [x * height + y, 4 * (y * width + x)];
      let [clear, total] = [1, 0];
      for (const { through } of layers) {
        clear *= through[place];
        total += 1 - through[place];
      }
      if (total === 0) continue;
      for (const { through, rgb } of layers) {
        for (let c = 0; c < 3; c += 1) image.data[to + c] += (rgb[c] * (1 - through[place])) / total;
      }
      image.data[to + 3] = 255 * (1 - clear);
    }
  }
  context.putImageData(image, 0, 0);
}

/** Red, green and blue, 0 to 255, of "#rrggbb". */
function rgbOf(color) {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
}

// Viridis, as matplotlib has it: even to the eye, and told apart without colour vision.
const SCALE = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map(
  rgbOf,
);

/** The colour of a share from 0 to 1. */
function scaleColor(share) {
  const place = share * (SCALE.length - 1);
  const low = Math.min(Math.floor(place), SCALE.length - 2);
  const mixed = SCALE[low].map((from, c) => Math.round(from + (place - low) * (SCALE[low + 1][c] - from)));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever is easier to read on a colour (the contrast of WCAG 2). */
function inkOn(color) {
  const linear = rgbOf(color).map((part) =>
    part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000000" : "#ffffff";
}

// ------------------------------------------------------------------------------------------------------------- state

// What is sorted or coloured by is a statistic's number, or one of the words that name something else.
const state = { part: 0, order: "place", largest: true, color: "layer", tokens: "all", form: "lines", threshold: null };
let heads = []; // of the part that is shown: { layer, head, name, button, canvas, strip, opacities }
let order = []; // their numbers as they are shown
let current = 0; // the one that the keyboard is on
let opened = null; // the one that is large
let wanted = null; // what asked last for a head to be large: what asked before gives up
let choices = []; // of tokens
let size = { width: FEWEST_PIXELS, height: FEWEST_PIXELS };
let painted = 0;
let runs = 0; // drawings begun: a new one ends those before it
// The large picture: the weights of the chosen tokens, which lines are drawn, what is held and what is pointed at.
const large = { matrix: null, chosen: null, lost: new Set(), lines: [], above: 0, threshold: 0, drawn: 0 };
Object.assign(large, { held: null, pointed: null, keyboard: { query: -1, key: -1 } });

const about = () => data.parts[state.part];
const keyAxis = () => about().keys ?? about().queries;
const choice = () => choices.find(({ value }) => value === state.tokens);
const statistic = (number) => about().statistics[number]; // undefined for a word
const measured = (number, { layer, head }) => statistic(number).values[layer][head] ?? NaN;
const clusterOf = ({ layer, head }) => about().clusters?.of[layer][head] ?? null;
const clusterName = (number) => (number === null ? `no ${about().clusters.title}` : about().clusters.groups[number]);
/** What stands for full opacity. */
const top = (layer) => (about().normalized ? 1 : about().coding[layer].top);
/** The statistic that the picture speaks of: the one it is coloured by, else sorted by, else the first. */
const spoken = () => [state.color, state.order].find(statistic) ?? 0;

/** The lowest and highest value of a statistic; undefined where there is none. */
function rangeOf(number) {
  const values = statistic(number)
    .values.flat()
    .filter((value) => value !== null);
  return values.length === 0 ? undefined : [Math.min(...values), Math.max(...values)];
}

/** The colours of a head's name and of its lines. */
function colorsOf(each) {
  if (state.color === "layer") return { fill: palette(each.layer), line: palette(each.layer) };
  if (state.color === "cluster") {
    const number = clusterOf(each);
    return number === null
      ? { fill: color("--rule"), line: color("--faint") }
      : { fill: palette(number), line: palette(number) };
  }
  const line = color("--positive");
  const value = measured(state.color, each);
  if (Number.isNaN(value)) return { fill: color("--rule"), line };
  const [low, high] = rangeOf(state.color);
  return { fill: scaleColor(high > low ? (value - low) / (high - low) : 0.5), line };
}

/** The opacities that are drawn in each colour: of positive weights, and of negative ones where there are any. */
function signs(opacities, line) {
  const positive = opacities.map((value) => (value > 0 ? Math.min(1, value) : 0));
  if (!about().signed) return [{ color: line, opacities: positive }];
  const negative = opacities.map((value) => (value < 0 ? Math.min(1, -value) : 0));
  return [
    { color: color("--positive"), opacities: positive },
    { color: color("--negative"), opacities: negative },
  ];
}

// --------------------------------------------------------------------------------------------------------- all heads

const bar = el("div", { class: "bar" });
const legend = el("div", { class: "control faint" }); // no bar, which paper has not
const board = el("div", { class: "board", role: "grid", on: { keydown: steer } });
const notes = el("p", { class: "faint" });

function fillBar() {
  const groups = about().clusters === null ? [] : [{ label: about().clusters.title, value: "cluster" }];
  const others = ["layer", "layer and head", ...groups.map(({ label: text }) => text)];
  const named = about().statistics.map(({ name }, value) => ({
    label: others.includes(name) ? `${name} (statistic)` : name,
    value,
  }));
  const parts = data.parts.map(({ name }, value) => ({ label: name, value }));
  const set = (name, then) => (value) => {
    state[name] = value;
    then();
    announce(sentence());
  };
  const sort = () => {
    largest.enable(statistic(state.order) !== undefined);
    arrange();
    label();
  };
  const largest = control.checkbox("largest first", state.largest, set("largest", sort));
  largest.enable(statistic(state.order) !== undefined);
  const forms = [
    { label: "lines", value: "lines" },
    { label: "matrices", value: "cells" },
  ];
  const turnTo = async (part) => {
    const drawing = show(part);
    bar.querySelector("select").focus(); // the bar is a new one
    await drawing;
  };
  bar.replaceChildren(
    ...(parts.length > 1 ? [control.select("Attention", parts, state.part, turnTo)] : []),
    control.select(
      "Order",
      [{ label: "layer and head", value: "place" }, ...named, ...groups],
      state.order,
      set("order", sort),
    ),
    largest,
    control.select(
      "Colour",
      [{ label: "layer", value: "layer" }, ...named, ...groups],
      state.color,
      set("color", repaint),
    ),
    ...(choices.length > 1 ? [control.select("Tokens", choices, state.tokens, set("tokens", draw))] : []),
    control.buttons("Draw", forms, state.form, set("form", repaint)),
    saveButtons(boardScene, "model-view"),
  );
}

function count(n, noun) {
  return `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
}

/** What dividing did to the weights, in words. */
function dividingNote({ lost, worst }) {
  const rest = lost > 0 ? `; ${count(lost, "row")} with too little mass to tell from rounding left out` : "";
  return `Divided by the mass on the tokens shown, weights differ by at most ${worst.toPrecision(2)}${rest}.`;
}

/** What is shown, in words. */
function sentence() {
  const known = statistic(state.order)?.name;
  const ordered = known ?? (state.order === "cluster" ? about().clusters.title : "layer and head");
  const end = known !== undefined ? `, ${state.largest ? "largest" : "smallest"} first` : "";
  return `${heads.length} heads by ${ordered}${end}; the first is ${heads[order[0]].name}`;
}

function fillNotes(divided = null) {
  const { layers, heads: numbers, queries, keys, unit, measure, normalized, error } = about();
  const tokens =
    keys === null
      ? count(queries.tokens.length, unit)
      : `${queries.tokens.length} x ${count(keys.tokens.length, unit)}`;
  const shared = normalized
    ? "their weights are summed over the keys and averaged over the queries"
    : "the largest weight in size is drawn";
  const longest = Math.max(queries.tokens.length, keyAxis().tokens.length);
  notes.textContent = [
    `${measure}${data.model ? ` of ${data.model}` : ""}: ${count(layers.length, "layer")} x ${count(numbers.length, "head")}, ${tokens}.`,
    `The opacity of a line is its weight${normalized ? "" : ", divided by the largest of the layer"}; that of a matrix's cell is the root of it.`,
    longest > MOST_ROWS ? `Where ${unit}s share one of the ${MOST_ROWS} rows of a small picture, ${shared}.` : "",
    errorNote(error),
    divided === null ? "" : dividingNote(divided),
  ].join(" ");
}

/** Turn to one of the page's tensors. */
async function show(number) {
  state.part = number;
  wanted = null;
  choices = tokenChoices(about());
  const { layers, heads: numbers, clusters, statistics } = about();
  const given = statistics.length > 2 ? 2 : "layer"; // after the two of the weights
  Object.assign(state, { order: "place", color: clusters ? "cluster" : given, tokens: "all" });
  heads = layers.flatMap((_, layer) => numbers.map((__, head) => thumbnail(layer, head)));
  current = 0;
  fillBar();
  arrange();
  await draw();
}

function thumbnail(layer, head) {
  const name = `${about().layers[layer]}-${about().heads[head]}`;
  const number = layer * about().heads.length + head;
  const [canvas, strip] = [el("canvas", { "aria-hidden": "true" }), el("span", { class: "strip" })];
  const on = { click: () => openHead(number), focus: () => moveTo(number) };
  const button = el("button", { type: "button", class: "thumbnail", tabindex: -1, on }, strip, canvas);
  return { layer, head, name, button, canvas, strip, opacities: null };
}

/** The numbers of the heads in the order asked for; undefined values, and heads of no group, last. */
function sorted() {
  const numbers = heads.map((_, n) => n);
  if (state.order === "place") return numbers;
  const none = Infinity;
  const rank = (n) => {
    if (state.order === "cluster") return clusterOf(heads[n]) ?? none;
    const value = measured(state.order, heads[n]);
    return Number.isNaN(value) ? none : state.largest ? -value : value;
  };
  return numbers.sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) - rank(b)));
}

/** Put the thumbnails in their order, as many a row as a layer has heads. */
function arrange() {
  order = sorted();
  const { layers, heads: numbers } = about();
  const inPlace = state.order === "place";
  const header = (role, kind, number) => el("div", { role, "aria-label": `${kind} ${number}`, text: number });
  const rows = inPlace
    ? [el("div", { role: "row", class: "numbers" }, ...numbers.map((n) => header("columnheader", "head", n)))]
    : [];
  for (let first = 0; first < order.length; first += numbers.length) {
    const cells = order
      .slice(first, first + numbers.length)
      .map((n) => el("div", { role: "gridcell" }, heads[n].button));
    rows.push(
      el(
        "div",
        { role: "row" },
        inPlace ? header("rowheader", "layer", layers[first / numbers.length]) : null,
        ...cells,
      ),
    );
  }
  board.replaceChildren(...rows);
  board.setAttribute("aria-label", inPlace ? "Heads, a row for each layer" : sentence());
  resize();
  moveTo(current);
}

/** Make the thumbnails as large as the page allows; whether that changed anything. */
function resize() {
  const columns = about().heads.length;
  const room = board.clientWidth - 34 - columns * (GAP + 2);
  const width = Math.max(FEWEST_PIXELS, Math.min(MOST_PIXELS, Math.floor(room / columns)));
  const changed = width !== size.width;
  size = { width, height: Math.round(width * 0.75) };
  for (const { canvas } of heads) Object.assign(canvas.style, { width: `${size.width}px`, height: `${size.height}px` });
  for (const header of board.querySelectorAll("[role=columnheader]")) header.style.width = `${size.width + 2}px`;
  return changed;
}

/** The names of all heads, with what is known of them. */
function label() {
  const { name } = statistic(spoken());
  for (const each of heads) {
    const { fill } = colorsOf(each);
    const value = measured(spoken(), each);
    Object.assign(each.strip.style, { background: fill, color: inkOn(fill) });
    const unseen = (text) => el("span", { class: "hidden-text", text });
    const group = about().clusters === null ? "" : `, ${clusterName(clusterOf(each))}`;
    const isShown = size.width >= WIDE && !Number.isNaN(value);
    const number = isShown ? el("span", { text: digits(value, 2) }) : unseen(digits(value, 2));
    // The name of the button is its text, of which a narrow picture shows a part.
    each.strip.replaceChildren(unseen("head "), each.name, unseen(`${group}, ${name} `), number);
    each.button.title = each.strip.textContent;
  }
  const numbers = size.width < WIDE ? "" : el("span", { text: `Numbers: ${name}.` });
  legend.replaceChildren(
    ...(state.color === "cluster" ? groupLegend() : state.color === "layer" ? [] : scaleLegend()),
    numbers,
  );
}

function groupLegend() {
  const groups = [...new Set(heads.map(clusterOf))].sort((a, b) => (a ?? Infinity) - (b ?? Infinity));
  return groups.map((number) => {
    const swatch = el("span", { class: "swatch" });
    swatch.style.background = number === null ? color("--rule") : palette(number);
    return el(
      "span",
      {},
      swatch,
      `${clusterName(number)} (${heads.filter((each) => clusterOf(each) === number).length})`,
    );
  });
}

function scaleLegend() {
  const range = rangeOf(state.color);
  const scale = el("span", { class: "scale" });
  scale.style.background = `linear-gradient(to right, ${SCALE.map((_, i) => scaleColor(i / (SCALE.length - 1))).join(", ")})`;
  const ends = range === undefined ? [] : [digits(range[0], 2), scale, digits(range[1], 2)];
  const missing = heads.filter((each) => Number.isNaN(measured(state.color, each))).length;
  const rest = missing > 0 ? [el("span", { text: `${missing} undefined (grey)` })] : [];
  return [el("span", { class: "control" }, el("span", { text: statistic(state.color).name }), ...ends), ...rest];
}

/** All that does not ask for other weights. */
function repaint() {
  label();
  for (const each of heads) if (each.opacities) paint(each);
}

/** Read the weights layer by layer, and show each as soon as it is there. */
async function draw() {
  runs += 1;
  const run = runs;
  const chosen = choice();
  const [rows, columns] = [chosen.rows, chosen.columns].map((numbers) => Math.min(numbers.length, MOST_ROWS));
  const divided = { lost: 0, worst: 0 };
  painted = 0;
  label();
  fillNotes();
  for (let layer = 0; layer < about().layers.length; layer += 1) {
    const numbers = await read(layer);
    if (run !== runs) return;
    if (numbers === null) continue;
    const steps = halfSteps(about().coding[layer], about().signed);
    for (const each of heads.filter((one) => one.layer === layer)) {
      const { shares, lost, worst } = sharesOf(numbers, each.head, chosen, steps);
      divided.lost += lost.size;
      divided.worst = Math.max(divided.worst, worst);
      const matrix = grouped(numbers, each.head, chosen, shares, rows, columns, about().normalized);
      each.opacities = { rows, columns, values: matrix.map((value) => value / top(layer)) };
      paint(each);
      painted += 1;
    }
    await new Promise((resume) => setTimeout(resume)); // the browser shows what is there
    if (run !== runs) return;
  }
  if (chosen.renormalize) fillNotes(divided);
}

/** A layer's weights; null where the page says that they cannot be had. */
async function read(layer) {
  try {
    return await weights(layer, state.part);
  } catch (error) {
    complain(error);
    return null;
  }
}

/** How thick lines are, in pixels of the page. */
function thickness(rows) {
  return Math.max(0.8, Math.min(1.6, (0.35 * size.height) / rows));
}

function paint(each) {
  const { rows, columns, values } = each.opacities;
  const [width, height] = [size.width, size.height].map((pixels) => Math.round(pixels * devicePixelRatio));
  const layers = signs(values, colorsOf(each).line).map((sign) => ({
    rgb: rgbOf(sign.color),
    through:
      state.form === "lines"
        ? throughLines(sign.opacities, rows, columns, width, height, thickness(rows) * devicePixelRatio)
        : throughCells(sign.opacities.map(Math.sqrt), rows, columns, width, height),
  }));
  paintLayers(each.canvas, width, height, layers);
}

/** Let the keyboard stand on a head. */
function moveTo(number) {
  heads[current].button.tabIndex = -1;
  current = number;
  heads[current].button.tabIndex = 0;
}

function steer(event) {
  if (event.altKey || event.metaKey || (event.ctrlKey && !["Home", "End"].includes(event.key))) return;
  const columns = about().heads.length;
  const place = order.indexOf(current);
  const row = place - (place % columns);
  const last = order.length - columns + (place - row);
  const rows = Math.max(1, Math.floor(board.clientHeight / (size.height + STRIP + GAP)));
  const moves = {
    ArrowLeft: place - 1,
    ArrowRight: place + 1,
    ArrowUp: place - columns,
    ArrowDown: place + columns,
    PageUp: Math.max(place - row, place - rows * columns),
    PageDown: Math.min(last, place + rows * columns),
    Home: event.ctrlKey ? 0 : row,
    End: event.ctrlKey ? order.length - 1 : row + columns - 1,
  };
  if (!Object.hasOwn(moves, event.key)) return;
  const to = moves[event.key];
  event.preventDefault();
  if (to >= 0 && to < order.length) heads[order[to]].button.focus();
}

function boardScene() {
  const inPlace = state.order === "place";
  const { layers, heads: numbers } = about();
  const [left, above] = inPlace ? [26, 18] : [2, 2];
  const [step, rise] = [size.width + GAP, size.height + STRIP + GAP];
  const scene = new Scene(left + numbers.length * step, above + layers.length * rise, color("--paper"));
  const faint = { color: color("--faint"), size: 11, anchor: "middle" };
  if (inPlace) {
    for (const [i, number] of numbers.entries())
      scene.text(left + i * step + size.width / 2, above / 2, String(number), faint);
    for (const [i, number] of layers.entries())
      scene.text(left / 2, above + i * rise + rise / 2, String(number), faint);
  }
  for (const [place, number] of order.entries()) {
    const each = heads[number];
    const [x, y] = [left + (place % numbers.length) * step, above + Math.floor(place / numbers.length) * rise];
    const { fill, line } = colorsOf(each);
    const value = measured(spoken(), each);
    scene.rect(x, y, size.width, STRIP, { color: fill });
    scene.text(x + 3, y + STRIP / 2, each.name, { color: inkOn(fill), size: 10 });
    if (size.width >= WIDE && !Number.isNaN(value)) {
      scene.text(x + size.width - 3, y + STRIP / 2, digits(value, 2), { color: inkOn(fill), size: 10, anchor: "end" });
    }
    if (each.opacities) addThumbnail(scene, each.opacities, x, y + STRIP, line);
    scene.rect(x, y, size.width, size.height + STRIP, { color: null, stroke: color("--rule") });
  }
  return scene;
}

/** One small picture as marks; what belongs to one query and has about one opacity is one mark, or there were too many. */
function addThumbnail(scene, { rows, columns, values }, x, y, line) {
  const isLines = state.form === "lines";
  const [cell, rise] = [size.width / columns, size.height / rows];
  const tenths = (number) => String(Math.round(number * 10) / 10);
  for (const sign of signs(values, line)) {
    for (let row = 0; row < rows; row += 1) {
      const paths = Array(LEVELS + 1).fill("");
      const middle = y + (row + 0.5) * rise;
      for (let column = 0; column < columns; column += 1) {
        const opacity = sign.opacities[row * columns + column];
        if (opacity < FAINTEST) continue;
        const shownOpacity = isLines ? opacity : Math.sqrt(opacity);
        paths[Math.ceil(LEVELS * Math.sqrt(shownOpacity))] += isLines
          ? `M${tenths(x)} ${tenths(middle)}l${tenths(size.width)} ${tenths(((column + 0.5) / columns - (row + 0.5) / rows) * size.height)}`
          : `M${tenths(x + column * cell)} ${tenths(middle)}h${tenths(cell)}`;
      }
      for (const [level, d] of paths.entries()) {
        const alpha = ((level - 0.5) / LEVELS) ** 2;
        if (d !== "") scene.path(d, { color: sign.color, alpha, width: isLines ? thickness(rows) : rise });
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------- one head, large

const title = el("h2", { tabindex: -1 });
const facts = el("p", { class: "faint" });
const reading = el("p", { class: "faint" });
const lists = { query: tokenList("query", "queries"), key: tokenList("key", "keys") };
const canvas = el("canvas", { "aria-hidden": "true" });
const field = el("div", { class: "lines" }, canvas);
const stage = el(
  "div",
  { class: "stage", on: { scroll: () => requestAnimationFrame(drawLarge) } },
  lists.query,
  field,
  lists.key,
);
const scaleOf = () => top(heads[opened].layer);
const threshold = control.slider(
  "Threshold",
  { value: 0, format: (step) => digits((step / 100) ** 2 * (opened === null ? 1 : scaleOf())) },
  (step) => {
    state.threshold = (step / 100) ** 2;
    chooseLines();
    drawLarge();
  },
);
const plain = (text, click) => el("button", { type: "button", text, on: { click } });
const panel = el(
  "section",
  { class: "panel", "aria-label": "One head" },
  el(
    "div",
    { class: "bar" },
    plain("Back to all heads", closeHead),
    plain("Previous head", () => step(-1)),
    plain("Next head", () => step(1)),
    threshold,
    saveButtons(largeScene, "model-view-head"),
  ),
  title,
  facts,
  stage,
  reading,
);

function tokenList(side, name) {
  const list = el("ul", { class: `column ${name}`, role: "listbox", tabindex: 0, "aria-label": name });
  const item = (event) => event.target.closest("li");
  const numberOf = (event) => [...list.children].indexOf(item(event));
  const on = {
    mouseover: (event) => item(event) && point({ side, i: numberOf(event) }),
    mouseleave: () => point(keyboardToken()),
    focus: () => stand(side, large.keyboard[side]),
    blur: () => {
      list.removeAttribute("aria-activedescendant");
      point(null);
    },
    click: (event) => {
      if (item(event) === null) return;
      const i = numberOf(event);
      if (large.held?.side === side && large.held.i === i) letGo();
      else {
        stand(side, i);
        hold({ side, i });
      }
    },
    keydown: (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const at = large.keyboard[side];
      const last = list.children.length - 1;
      const moves = {
        ArrowUp: Math.max(0, at - 1),
        ArrowDown: Math.min(last, at + 1),
        PageUp: Math.max(0, at - PAGE),
        PageDown: Math.min(last, at + PAGE),
        Home: 0,
        End: last,
      };
      if (Object.hasOwn(moves, event.key)) {
        stand(side, moves[event.key]);
        lists[side].children[moves[event.key]].scrollIntoView({ block: "nearest" });
        announce(reading.textContent);
      } else if ((event.key === "Enter" || event.key === " ") && at >= 0) {
        hold({ side, i: at });
      } else return;
      event.preventDefault();
    },
  };
  for (const [event, listener] of Object.entries(on)) list.addEventListener(event, listener);
  return list;
}

/** Let the keyboard stand on a token of a list; on none where the number is negative. */
function stand(side, i) {
  large.keyboard[side] = i;
  if (i >= 0) lists[side].setAttribute("aria-activedescendant", lists[side].children[i].id);
  else lists[side].removeAttribute("aria-activedescendant");
  point(keyboardToken());
}

/** The token that the keyboard stands on, in the list that it is in. */
function keyboardToken() {
  const side = ["query", "key"].find((each) => lists[each] === document.activeElement);
  return side === undefined || large.keyboard[side] < 0 ? null : { side, i: large.keyboard[side] };
}

function fillList(side, axis, numbers) {
  const items = numbers.map((token, i) =>
    tokenElement("li", axis.tokens[token], { role: "option", id: `${side}-${i}`, "aria-selected": false }),
  );
  lists[side].replaceChildren(...items);
  lists[side].removeAttribute("aria-activedescendant");
  large.keyboard[side] = -1;
}

async function openHead(number) {
  const asked = { number };
  wanted = asked;
  const numbers = await read(heads[number].layer);
  if (wanted !== asked) return;
  if (numbers === null) {
    wanted = null;
    return;
  }
  const chosen = choice();
  const { layer, head, name } = heads[number];
  const isFirst = opened === null;
  opened = number;
  const steps = halfSteps(about().coding[layer], about().signed);
  const { shares, lost, worst } = sharesOf(numbers, head, chosen, steps);
  Object.assign(large, { chosen, lost, held: null, pointed: null });
  large.matrix = grouped(numbers, head, chosen, shares, chosen.rows.length, chosen.columns.length, about().normalized);
  state.threshold = null;
  chooseLines();
  overview.hidden = true;
  panel.hidden = false;
  title.textContent = `Head ${name}`;
  const known = about()
    .statistics.filter((each) => each.values[layer][head] !== null)
    .map((each) => `${each.name} ${digits(each.values[layer][head])}`);
  if (about().clusters !== null) known.unshift(clusterName(clusterOf(heads[number])));
  const empty = chosen.rows.filter((query) => numbers.isEmpty(head, query)).length;
  if (empty > 0) known.push(`${count(empty, "row")} without mass`);
  facts.textContent = `${known.join(", ")}.${chosen.renormalize ? ` ${dividingNote({ lost: lost.size, worst })}` : ""}`;
  fillList("query", about().queries, chosen.rows);
  fillList("key", keyAxis(), chosen.columns);
  field.style.height = `${Math.max(chosen.rows.length, chosen.columns.length) * ROW}px`;
  stage.scrollTop = 0;
  drawLarge();
  if (isFirst) title.focus();
  else announce(title.textContent);
}

function closeHead() {
  const last = opened;
  opened = null;
  wanted = null;
  panel.hidden = true;
  overview.hidden = false;
  refit();
  heads[last].button.focus();
}

/** Go on to another head in the order of the board. */
function step(by) {
  const place = order.indexOf(wanted?.number ?? opened) + by;
  if (place >= 0 && place < order.length) openHead(order[place]);
}

function turn(event) {
  if (opened === null || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape" && large.held !== null) letGo();
  else if (event.key === "Escape") closeHead();
  else if (event.target.closest("input")) return;
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
}

/** Which weights are lines: those above the threshold that was asked for, or at first the strongest. */
function chooseLines() {
  const { matrix, chosen } = large;
  const columns = chosen.columns.length;
  const opacities = matrix.map(opacityOf);
  large.threshold = state.threshold;
  if (large.threshold === null) {
    const tally = new Uint32Array(101);
    for (const opacity of opacities) if (opacity > 0) tally[Math.floor(100 * Math.sqrt(opacity))] += 1;
    let step = 100;
    for (let lines = tally[100]; step > LEAST_STEP && lines + tally[step - 1] <= MOST_LINES; step -= 1)
      lines += tally[step - 1];
    large.threshold = (step / 100) ** 2;
  }
  const drawn = opacities.filter(isLine);
  large.above = drawn.length;
  let [least, ties] = [0, Infinity]; // the weakest that is a line, and for how many of just its opacity there is room
  if (drawn.length > MOST_LINES) {
    drawn.sort();
    least = drawn[drawn.length - MOST_LINES];
    ties = drawn.subarray(drawn.length - MOST_LINES).lastIndexOf(least) + 1;
  }
  large.lines = [];
  for (const [n, opacity] of opacities.entries()) {
    if (!isLine(opacity) || opacity < least) continue;
    if (opacity === least) {
      if (ties === 0) continue;
      ties -= 1;
    }
    large.lines.push({ query: Math.floor(n / columns), key: n % columns, weight: matrix[n], opacity });
  }
  threshold.set(Math.round(100 * Math.sqrt(large.threshold)));
}

const opacityOf = (weight) => Math.min(1, Math.abs(weight) / scaleOf());
const isLine = (opacity) => opacity > 0 && opacity >= large.threshold;

/** What of the lines is drawn where not all are, in words. */
function strongest() {
  const { lines, above } = large;
  return lines.length < above ? `the ${lines.length.toLocaleString("en")} strongest of ${count(above, "line")}` : "";
}

const focus = () => large.pointed ?? large.held;

/** The weights between the token in question and those of the other side. */
function linksOf({ side, i }) {
  const { matrix, chosen } = large;
  const columns = chosen.columns.length;
  return side === "query"
    ? matrix.slice(i * columns, (i + 1) * columns)
    : Float32Array.from(chosen.rows, (_, row) => matrix[row * columns + i]);
}

/** The lines of a token, all of them above the threshold; where none is in question the strongest of all. */
function linesOf(token) {
  if (token === null) return large.lines;
  const { side, i } = token;
  return [...linksOf(token)]
    .map((weight, j) => ({ [side]: i, [side === "query" ? "key" : "query"]: j, weight, opacity: opacityOf(weight) }))
    .filter(({ opacity }) => isLine(opacity));
}

/** Lines from x on, and cells beside the other tokens where one is in question, between two heights of the picture. */
function addLines(scene, { x, y, width, begin, end }) {
  const token = focus();
  const { line } = colorsOf(heads[opened]);
  const colorOf = (weight) => (about().signed ? color(weight < 0 ? "--negative" : "--positive") : line);
  const middle = (i) => y + (i + 0.5) * ROW - begin;
  const isSeen = (...heights) => Math.max(...heights) >= y - ROW && Math.min(...heights) <= y + end - begin + ROW;
  const [left, right] = [
    token?.side === "key" ? x + CELL + 2 : x,
    token?.side === "query" ? x + width - CELL - 2 : x + width,
  ];
  const lines = linesOf(token);
  large.drawn = lines.length;
  for (const { query, key, weight, opacity } of lines) {
    const [y1, y2] = [middle(query), middle(key)];
    if (isSeen(y1, y2))
      scene.line(left, y1, right, y2, { color: colorOf(weight), alpha: opacity, dash: weight < 0 ? [4, 3] : null });
  }
  if (token === null) return;
  for (const [i, weight] of linksOf(token).entries()) {
    if (Number.isNaN(weight) || !isSeen(middle(i))) continue;
    const place = token.side === "query" ? x + width - CELL : x;
    scene.rect(place, middle(i) - ROW / 2 + 1, CELL, ROW - 2, { color: colorOf(weight), alpha: opacityOf(weight) });
  }
}

function drawLarge() {
  if (opened === null) return;
  const [begin, height] = [stage.scrollTop, Math.min(stage.clientHeight, field.clientHeight)];
  const scene = new Scene(field.clientWidth, height);
  addLines(scene, { x: 0, y: 0, width: field.clientWidth, begin, end: begin + height });
  scene.toCanvas(canvas);
  for (const item of stage.querySelectorAll(".active, .held")) item.classList.remove("active", "held");
  for (const item of stage.querySelectorAll("[aria-selected=true]")) item.setAttribute("aria-selected", "false");
  const { held, pointed } = large;
  if (held !== null) {
    lists[held.side].children[held.i].classList.add("held");
    lists[held.side].children[held.i].setAttribute("aria-selected", "true");
  }
  if (pointed !== null) lists[pointed.side].children[pointed.i].classList.add("active");
  reading.textContent = told();
}

/** The token in question and its strongest links. */
function told() {
  const token = focus();
  if (token === null) {
    const all = strongest();
    return `${all === "" ? "" : `Drawn: ${all}. `}Point at a token, or choose one with the arrow keys, to see its lines alone; a click or Enter holds it.`;
  }
  const [own, other] = token.side === "query" ? [lists.query, lists.key] : [lists.key, lists.query];
  const name = (list, i) => `\u2068${list.children[i].textContent}\u2069`;
  const links = [...linksOf(token).entries()].filter(([, weight]) => !Number.isNaN(weight));
  if (links.length === 0) {
    const isLost = token.side === "query" && large.lost.has(token.i);
    return `${name(own, token.i)}: ${isLost ? "too little mass to tell from rounding" : "a row without mass"}`;
  }
  links.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const listed = links.slice(0, LISTED).map(([i, weight]) => `${name(other, i)} ${digits(weight)}`);
  return `${name(own, token.i)} ${token.side === "query" ? "attends to" : "is attended to by"} ${listed.join(", ")}`;
}

function point(token) {
  if (token?.side === large.pointed?.side && token?.i === large.pointed?.i) return;
  large.pointed = token;
  drawLarge();
}

function hold({ side, i }) {
  const isHeld = large.held?.side === side && large.held.i === i;
  large.held = isHeld ? null : { side, i };
  drawLarge();
  announce(isHeld ? "let go" : reading.textContent);
}

/** Hold no token, and let the keyboard stand on none: all lines are drawn. */
function letGo() {
  large.held = null;
  large.pointed = null;
  for (const side of ["query", "key"]) stand(side, -1);
  drawLarge();
  announce("let go");
}

/** All of the large picture, with its tokens, and not only what fits the screen. */
function largeScene() {
  const [left, middle, right] = [lists.query.offsetWidth, field.clientWidth, lists.key.offsetWidth];
  const above = 28;
  const height = Math.max(...Object.values(lists).map((list) => list.children.length)) * ROW;
  const scene = new Scene(left + middle + right, above + height + 8, color("--paper"));
  const ink = color("--ink");
  const all = focus() === null ? strongest() : "";
  scene.text(8, above / 2, [title.textContent, all].filter(Boolean).join(": "), { color: ink, weight: "600" });
  addLines(scene, { x: left, y: above, width: middle, begin: 0, end: height });
  for (const [list, x, anchor] of [
    [lists.query, left - 6, "end"],
    [lists.key, left + middle + 6, "start"],
  ]) {
    for (const [i, item] of [...list.children].entries())
      scene.text(x, above + (i + 0.5) * ROW, item.textContent, { color: ink, anchor });
  }
  return scene;
}

// ---------------------------------------------------------------------------------------------------------- the page

const keys = ["Arrow keys", "Home", "End", "Page Up", "Page Down"].flatMap((key) => [el("kbd", { text: key }), " "]);
const help = el(
  "p",
  { class: "faint" },
  ...keys,
  "move between heads, ",
  el("kbd", { text: "Enter" }),
  " opens one, ",
  el("kbd", { text: "Esc" }),
  " goes back.",
);
const overview = el("section", { class: "overview", "aria-label": "All heads" }, bar, legend, board, help);

/** What is shown, as large as the page now allows. */
function refit() {
  if (opened !== null) drawLarge();
  else if (resize()) repaint();
}

function recolor() {
  repaint();
  drawLarge();
}

let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(refit, 100);
});
document.addEventListener("keydown", turn);
onTheme(recolor);

window.bertattn = {
  /** As the page holds it: numbers of layer, head, query and key token count from 0. */
  weight: async (layer, head, i, j) => (await weights(layer, state.part)).at(head, i, j),
  /** As the large picture has it, of the tokens that are shown. */
  shown: (i, j) => large.matrix[i * large.chosen.columns.length + j],
  state: () => ({
    ...state,
    threshold: large.threshold,
    opened: opened === null ? null : heads[opened].name,
    held: large.held,
    pointed: large.pointed,
    heads: order.map((n) => heads[n].name),
  }),
  drawn: () => (opened === null ? { thumbnails: painted } : { lines: large.drawn }),
};

start(async () => {
  panel.hidden = true;
  legend.style.columnGap = "0.9rem";
  main.append(el("h1", { dir: "auto", text: whole(data.title) }), overview, panel, notes);
  await show(0);
});
