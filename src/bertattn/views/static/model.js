// The model view: a small picture of every head, layer by layer, any of which opens to a large one.

const STYLE = `
body.model .board { flex: 1 1 0; min-height: 320px; overflow: auto; border-block: 1px solid var(--rule); padding: 2px; }
body.model .board [role="row"] { display: flex; gap: 3px; margin-block-end: 3px; }
body.model .board [role="columnheader"], body.model .board [role="rowheader"] {
  flex: none; display: flex; align-items: center; justify-content: center; color: var(--faint); font-size: 12px;
}
body.model .board [role="rowheader"] { width: 1.6rem; }
body.model .board [role="row"].heads {
  position: sticky; inset-block-start: -2px; z-index: 1; padding-inline-start: calc(1.6rem + 3px); background: var(--paper);
}
body.model .thumbnail {
  display: block; padding: 0; min-height: 0; overflow: hidden; background: none; border: 1px solid var(--rule);
  border-radius: 3px; cursor: zoom-in;
}
body.model .thumbnail:hover { border-color: var(--ink); }
body.model .thumbnail:focus-visible { outline-width: 3px; }
body.model .thumbnail .strip {
  display: flex; justify-content: space-between; height: 14px; line-height: 14px; padding: 0 3px; font-size: 10px;
  white-space: nowrap; overflow: hidden; font-variant-numeric: tabular-nums;
}
body.model .thumbnail canvas { display: block; }
body.model .scale { display: inline-block; width: 9rem; height: 0.8rem; }
body.model .overview, body.model .panel { flex: 1 1 0; min-height: 0; display: flex; flex-direction: column; gap: 0.45rem; }
body.model .panel h2 { font-size: 1rem; margin: 0; }
body.model [hidden] { display: none; }
@media print { body.model .board { overflow: visible; flex: none; } }
@media (forced-colors: active) { body.model .strip, body.model .scale { forced-color-adjust: none; } }
`;

const FEWEST_PIXELS = 46; // narrower thumbnails show nothing: a narrow page scrolls sideways instead
const MOST_PIXELS = 220;
const WIDE = 64; // room for a number beside the name
const STRIP = 14;
const GAP = 3;
const MOST_ROWS = 48; // of a thumbnail; tokens beyond share rows
const FAINTEST = 1 / 256; // what no screen shows
const LEVELS = 16; // opacities that a saved thumbnail tells apart
const TOKEN_ROW = 18;

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
        choices.push({ label: `${from} → ${to}`, value: `${from}${to}`, rows: of(part.queries, a), columns: of(keys, b) });
      }
    }
  }
  return choices;
}

/**
 * One head's weights [height * width], the chosen queries and keys in so many groups of neighbours: of distributions the
 * mean over a group's queries of the sum over its keys, of other measures the largest in size. Undefined rows do not
 * count; a group of nothing else is NaN.
 */
function grouped(layer, head, { rows, columns, renormalize = false }, height, width, additive) {
  const { codes, values, queries, keys } = layer;
  const result = new Float32Array(height * width);
  const counted = new Uint32Array(height);
  const group = columns.map((_, m) => Math.floor((m * width) / columns.length));
  for (const [n, query] of rows.entries()) {
    if (layer.isEmpty(head, query)) continue;
    const from = (head * queries + query) * keys;
    let share = 1;
    if (renormalize) {
      let total = 0;
      for (const key of columns) total += values[codes[from + key]];
      if (total === 0) continue;
      share = 1 / total;
    }
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
      if (!(opacity >= FAINTEST)) continue;
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
      through[x * height + y] = 1 - (opacity > 0 ? opacity : 0);
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
const SCALE = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map(rgbOf);

/** The colour of a share from 0 to 1. */
function scaleColor(share) {
  const place = share * (SCALE.length - 1);
  const low = Math.min(Math.floor(place), SCALE.length - 2);
  const mixed = SCALE[low].map((from, c) => Math.round(from + (place - low) * (SCALE[low + 1][c] - from)));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever is easier to read on a colour (the contrast of WCAG 2). */
function inkOn(color) {
  const linear = rgbOf(color).map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000000" : "#ffffff";
}

// --------------------------------------------------------------------------------------------------------------- view

function pause() {
  return new Promise((resume) => setTimeout(resume));
}

start(async () => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets = [sheet];

  const state = { part: 0, order: "place", largest: true, color: "layer", tokens: "all", form: "lines", threshold: 0.02 };
  let heads = []; // of the part that is shown: { layer, head, name, button, canvas, strip, opacities }
  let order = []; // their numbers as they are shown
  let current = 0; // the one that the keyboard is on
  let open = null; // the one that is large
  let painted = 0;
  let runs = 0; // drawings begun: a new one ends those before it
  let size = { width: FEWEST_PIXELS, height: FEWEST_PIXELS };

  const part = () => data.parts[state.part];
  const choice = () => tokenChoices(part()).find(({ value }) => value === state.tokens);
  const statistic = (name) => part().statistics.find((each) => each.name === name);
  const valueOf = (name, { layer, head }) => statistic(name).values[layer][head] ?? NaN;
  const clusterOf = ({ layer, head }) => part().clusters?.of[layer][head] ?? null;
  const clusterName = (number) => (number === null ? `no ${part().clusters.title}` : part().clusters.groups[number]);
  /** The statistic that the picture speaks of: the one it is coloured by, else sorted by, else the first. */
  const spoken = () => [state.color, state.order].find((name) => statistic(name)) ?? part().statistics[0].name;
  const top = (layer) => (part().normalized ? 1 : part().coding[layer].top);

  // ---- controls

  const bar = el("div", { class: "bar" });
  const about = el("p", { class: "faint" });
  const legend = el("div", { class: "bar faint" });
  const board = el("div", { class: "board", role: "grid", "aria-label": "Heads" });
  const overview = el("div", { class: "bar" });

  function controlsOf() {
    const named = part().statistics.map(({ name }) => ({ label: name, value: name }));
    const groups = part().clusters === null ? [] : [{ label: part().clusters.title, value: "cluster" }];
    const orders = [{ label: "layer and head", value: "place" }, ...named, ...groups];
    const colors = [{ label: "layer", value: "layer" }, ...named, ...groups];
    const tokens = tokenChoices(part());
    const forms = [
      { label: "lines", value: "lines" },
      { label: "matrices", value: "cells" },
    ];
    const largest = control.checkbox("largest first", state.largest, (value) => change({ largest: value }));
    const change = (changes) => {
      Object.assign(state, changes);
      largest.enable(statistic(state.order) !== undefined);
      arrange();
      if ("tokens" in changes || "form" in changes) draw();
      else recolor();
      announce(sentence());
    };
    largest.enable(statistic(state.order) !== undefined);
    bar.replaceChildren(
      ...(data.parts.length === 1
        ? []
        : [control.select("Attention", data.parts.map(({ name }, i) => ({ label: name, value: i })), state.part, (value) => show(value))]),
      control.select("Order", orders, state.order, (value) => change({ order: value })),
      largest,
      control.select("Colour", colors, state.color, (value) => change({ color: value })),
      ...(tokens.length === 1 ? [] : [control.select("Tokens", tokens, state.tokens, (value) => change({ tokens: value }))]),
      control.buttons("Draw", forms, state.form, (value) => change({ form: value })),
      saveButtons(boardScene),
    );
  }

  /** What is shown, in words. */
  function sentence() {
    const ordered = state.order === "place" ? "by layer and head" : `by ${state.order === "cluster" ? part().clusters.title : state.order}`;
    const end = statistic(state.order) ? `, ${state.largest ? "largest" : "smallest"} first` : "";
    return `${heads.length} heads ${ordered}${end}, first ${heads[order[0]].name}`;
  }

  // ---- the board

  /** Turn to one of the page's tensors. */
  async function show(number) {
    state.part = number;
    const { layers, heads: numbers, clusters, statistics } = part();
    const given = statistics[2]?.name; // after the two of the weights
    Object.assign(state, { order: "place", color: clusters ? "cluster" : (given ?? "layer"), tokens: "all" });
    heads = layers.flatMap((_, layer) => numbers.map((__, head) => thumbnail(layer, head)));
    current = 0;
    controlsOf();
    about.textContent = described();
    arrange();
    await draw();
  }

  function described() {
    const { layers, heads: numbers, queries, keys, unit, measure, normalized, error } = part();
    const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
    const texts = `${queries.tokens.length}${keys === null ? "" : ` x ${keys.tokens.length}`}`;
    const shared = normalized
      ? "their weights are summed over the keys and averaged over the queries"
      : "the largest weight in size is drawn";
    const longest = Math.max(queries.tokens.length, (keys ?? queries).tokens.length);
    return [
      `${measure}, ${count(layers.length, "layer")} x ${count(numbers.length, "head")}, ${texts} ${unit}s.`,
      `The opacity of a line is its weight${normalized ? "" : ", divided by the largest of the layer"}; that of a matrix's cell is the root of it.`,
      longest > MOST_ROWS ? `Where ${unit}s share one of the ${MOST_ROWS} rows of a small picture, ${shared}.` : "",
      errorNote(error),
    ].join(" ");
  }

  function thumbnail(layer, head) {
    const name = `${part().layers[layer]}-${part().heads[head]}`;
    const [canvas, strip] = [el("canvas", { "aria-hidden": "true" }), el("span", { class: "strip" })];
    const number = layer * part().heads.length + head;
    const on = { click: () => openHead(number), focus: () => moveTo(number) };
    const button = el("button", { type: "button", class: "thumbnail", tabindex: -1, on }, strip, canvas);
    return { layer, head, name, button, canvas, strip, opacities: null };
  }

  /** How large a thumbnail may be. */
  function measured() {
    const columns = part().heads.length;
    const room = board.clientWidth - 32 - columns * GAP;
    const width = Math.max(FEWEST_PIXELS, Math.min(MOST_PIXELS, Math.floor(room / columns) - 2));
    return { width, height: Math.round(width * 0.75) };
  }

  /** Put the thumbnails in their order, as many a row as a layer has heads. */
  function arrange() {
    const isDefined = (n) => !Number.isNaN(valueOf(state.order, heads[n]));
    const sign = state.largest ? -1 : 1;
    order = heads.map((_, n) => n);
    if (state.order === "cluster") {
      const rank = (n) => clusterOf(heads[n]) ?? part().clusters.groups.length;
      order.sort((a, b) => rank(a) - rank(b) || a - b);
    } else if (statistic(state.order)) {
      const value = (n) => valueOf(state.order, heads[n]);
      order.sort((a, b) => isDefined(b) - isDefined(a) || (isDefined(a) && sign * (value(a) - value(b))) || a - b);
    }
    const columns = part().heads.length;
    const inPlace = state.order === "place";
    const rows = [];
    if (inPlace) {
      const labels = part().heads.map((number) => el("div", { role: "columnheader", "aria-label": `head ${number}`, text: number }));
      rows.push(el("div", { role: "row", class: "heads" }, ...labels));
    }
    for (let first = 0; first < order.length; first += columns) {
      const number = part().layers[heads[order[first]].layer];
      const label = inPlace ? el("div", { role: "rowheader", "aria-label": `layer ${number}`, text: number }) : null;
      const cells = order.slice(first, first + columns).map((n) => el("div", { role: "gridcell" }, heads[n].button));
      rows.push(el("div", { role: "row" }, label, ...cells));
    }
    board.replaceChildren(...rows);
    board.setAttribute("aria-label", inPlace ? "Heads: a row for each layer" : `Heads by ${state.order}`);
    moveTo(order.includes(current) ? current : order[0]);
  }

  /** The colour of a head: { fill, line }. */
  function colorsOf(each) {
    if (state.color === "layer") return { fill: palette(each.layer), line: palette(each.layer) };
    if (state.color === "cluster") {
      const number = clusterOf(each);
      const fill = number === null ? color("--rule") : palette(number);
      return { fill, line: number === null ? color("--faint") : fill };
    }
    const share = shareOf(state.color, valueOf(state.color, each));
    return { fill: share === null ? color("--rule") : scaleColor(share), line: color("--positive") };
  }

  /** Where a value stands among all, from 0 to 1; null where it is undefined. */
  function shareOf(name, value) {
    if (Number.isNaN(value)) return null;
    const { low, high } = rangeOf(name);
    return high > low ? (value - low) / (high - low) : 0.5;
  }

  function rangeOf(name) {
    const values = statistic(name).values.flat().filter((value) => value !== null);
    return { low: Math.min(...values), high: Math.max(...values) };
  }

  /** The names, colours and pictures of all heads whose weights are there. */
  function recolor() {
    size = measured();
    const name = spoken();
    for (const each of heads) {
      const { fill } = colorsOf(each);
      const value = valueOf(name, each);
      Object.assign(each.strip.style, { background: fill, color: inkOn(fill) });
      each.strip.replaceChildren(each.name, size.width < WIDE ? "" : el("span", { text: Number.isNaN(value) ? "–" : digits(value, 2) }));
      const group = state.color === "cluster" || state.order === "cluster" ? `, ${clusterName(clusterOf(each))}` : "";
      const text = `head ${each.name}${group}, ${name} ${digits(value, 2)}`;
      each.button.setAttribute("aria-label", text);
      each.button.title = text;
      Object.assign(each.canvas.style, { width: `${size.width}px`, height: `${size.height}px` });
      if (each.opacities) paint(each);
    }
    for (const label of board.querySelectorAll("[role=columnheader]")) label.style.width = `${size.width + 2}px`;
    explain();
  }

  function explain() {
    const numbers = size.width < WIDE ? "" : el("span", { text: `Numbers: ${spoken()}.` });
    if (state.color === "layer") return legend.replaceChildren(numbers);
    if (state.color === "cluster") {
      const groups = [...new Set(heads.map(clusterOf))].sort((a, b) => (a ?? Infinity) - (b ?? Infinity));
      const entries = groups.map((number) => {
        const swatch = el("span", { class: "swatch" });
        swatch.style.background = number === null ? color("--rule") : palette(number);
        const count = heads.filter((each) => clusterOf(each) === number).length;
        return el("span", {}, swatch, `${clusterName(number)} (${count})`);
      });
      return legend.replaceChildren(...entries, numbers);
    }
    const { low, high } = rangeOf(state.color);
    const undefinedCount = heads.filter((each) => Number.isNaN(valueOf(state.color, each))).length;
    const scale = el("span", { class: "scale" });
    scale.style.background = `linear-gradient(to right, ${SCALE.map((_, i) => scaleColor(i / (SCALE.length - 1))).join(", ")})`;
    const ends = low <= high ? [digits(low, 2), scale, digits(high, 2)] : [];
    const rest = undefinedCount > 0 ? el("span", { text: `${undefinedCount} undefined (grey)` }) : "";
    return legend.replaceChildren(el("span", { class: "control" }, el("span", { text: state.color }), ...ends), rest, numbers);
  }

  /** Read the weights layer by layer, and show each as soon as it is there. */
  async function draw() {
    runs += 1;
    const run = runs;
    const chosen = choice();
    const [rows, columns] = [chosen.rows, chosen.columns].map((kept) => Math.min(kept.length, MOST_ROWS));
    painted = 0;
    for (const each of heads) each.opacities = null;
    recolor();
    for (let layer = 0; layer < part().layers.length; layer += 1) {
      const numbers = await weights(layer, state.part);
      if (run !== runs) return;
      for (const each of heads.filter((one) => one.layer === layer)) {
        const matrix = grouped(numbers, each.head, chosen, rows, columns, part().normalized);
        each.opacities = { rows, columns, values: matrix.map((value) => value / top(layer)) };
        paint(each);
        painted += 1;
      }
      await pause();
      if (run !== runs) return;
    }
  }

  /** What is drawn of a head in each colour: positive weights, and negative ones where there are any. */
  function signs(opacities, line) {
    const positive = opacities.map((value) => Math.min(1, Math.max(0, value)));
    if (!part().signed) return [{ color: line, opacities: positive, dash: null }];
    const negative = opacities.map((value) => Math.min(1, Math.max(0, -value)));
    return [
      { color: color("--positive"), opacities: positive, dash: null },
      { color: color("--negative"), opacities: negative, dash: [4, 3] },
    ];
  }

  function thickness(rows, height) {
    return Math.max(0.8, Math.min(1.6, (0.35 * height) / rows));
  }

  function paint(each) {
    const { rows, columns, values } = each.opacities;
    const [width, height] = [size.width, size.height].map((pixels) => Math.round(pixels * devicePixelRatio));
    const layers = signs(values, colorsOf(each).line).map((sign) => ({
      rgb: rgbOf(sign.color),
      through:
        state.form === "lines"
          ? throughLines(sign.opacities, rows, columns, width, height, thickness(rows, size.height) * devicePixelRatio)
          : throughCells(sign.opacities.map(Math.sqrt), rows, columns, width, height),
    }));
    paintLayers(each.canvas, width, height, layers);
  }

  // ---- the keyboard on the board

  function moveTo(number) {
    heads[current].button.tabIndex = -1;
    current = number;
    heads[current].button.tabIndex = 0;
  }

  board.addEventListener("keydown", (event) => {
    const columns = part().heads.length;
    const place = order.indexOf(current);
    const row = place - (place % columns);
    const moves = {
      ArrowLeft: place - 1,
      ArrowRight: place + 1,
      ArrowUp: place - columns,
      ArrowDown: place + columns,
      Home: event.ctrlKey ? 0 : row,
      End: event.ctrlKey ? order.length - 1 : row + columns - 1,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const wanted = moves[event.key];
    if (wanted >= 0 && wanted < order.length) heads[order[wanted]].button.focus();
  });

  // ---- saving the board

  function boardScene() {
    const inPlace = state.order === "place";
    const columns = part().heads.length;
    const [left, head] = inPlace ? [26, 18] : [2, 2];
    const [step, rise] = [size.width + GAP, size.height + STRIP + GAP];
    const scene = new Scene(left + columns * step, head + Math.ceil(order.length / columns) * rise, color("--paper"));
    const faint = { color: color("--faint"), size: 11, anchor: "middle" };
    if (inPlace) {
      part().heads.forEach((number, i) => scene.text(left + i * step + size.width / 2, head / 2, String(number), faint));
      part().layers.forEach((number, i) => scene.text(left / 2, head + i * rise + rise / 2, String(number), faint));
    }
    for (const [place, number] of order.entries()) {
      const each = heads[number];
      const [x, y] = [left + (place % columns) * step, head + Math.floor(place / columns) * rise];
      const { fill, line } = colorsOf(each);
      scene.rect(x, y, size.width, STRIP, { color: fill });
      scene.text(x + 3, y + STRIP / 2, each.name, { color: inkOn(fill), size: 10 });
      const value = valueOf(spoken(), each);
      if (size.width >= WIDE && !Number.isNaN(value)) {
        scene.text(x + size.width - 3, y + STRIP / 2, digits(value, 2), { color: inkOn(fill), size: 10, anchor: "end" });
      }
      if (each.opacities) addThumbnail(scene, each.opacities, x, y + STRIP, line);
      scene.rect(x, y, size.width, size.height + STRIP, { color: null, stroke: color("--rule") });
    }
    return scene;
  }

  /** One picture of the board as marks. Lines of one query and about one opacity are one mark, or there were too many. */
  function addThumbnail(scene, { rows, columns, values }, x, y, line) {
    const { width, height } = size;
    const short = (number) => String(Math.round(number * 10) / 10);
    for (const sign of signs(values, line)) {
      for (let row = 0; row < rows; row += 1) {
        const paths = new Map();
        const from = y + ((row + 0.5) * height) / rows;
        for (let column = 0; column < columns; column += 1) {
          const opacity = sign.opacities[row * columns + column];
          if (!(opacity >= FAINTEST)) continue;
          if (state.form === "cells") {
            const [w, h] = [width / columns, height / rows];
            scene.rect(x + column * w, y + row * h, w, h, { color: sign.color, alpha: Math.sqrt(opacity) });
            continue;
          }
          const level = Math.ceil(LEVELS * Math.sqrt(opacity));
          const rise = y + ((column + 0.5) * height) / columns - from;
          paths.set(level, `${paths.get(level) ?? ""}M${short(x)} ${short(from)}l${short(width)} ${short(rise)}`);
        }
        for (const [level, d] of paths) {
          const alpha = ((level - 0.5) / LEVELS) ** 2;
          scene.path(d, { color: sign.color, alpha, width: thickness(rows, height) });
        }
      }
    }
  }

  // ---- one head, large

  const title = el("h2", { tabindex: -1 });
  const facts = el("p", { class: "faint" });
  const reading = el("p", { class: "faint", text: "" });
  const queryList = el("ul", { class: "column queries", role: "listbox", tabindex: 0, "aria-label": "queries" });
  const keyList = el("ul", { class: "column keys", role: "listbox", tabindex: 0, "aria-label": "keys" });
  const linesCanvas = el("canvas", { "aria-hidden": "true" });
  const lines = el("div", { class: "lines" }, linesCanvas);
  const stage = el("div", { class: "stage" }, queryList, lines, keyList);
  const large = { matrix: null, chosen: null, held: null, pointed: null, drawn: 0 };
  const button = (text, click) => el("button", { type: "button", text, on: { click } });
  const panel = el(
    "section",
    { class: "panel", "aria-label": "One head" },
    el(
      "div",
      { class: "bar" },
      button("Back to all heads (Esc)", () => closeHead()),
      button("Previous", () => step(-1)),
      button("Next", () => step(1)),
      control.slider("Draw weights from", { min: 0, max: 50, value: 100 * state.threshold, format: (value) => `${value} %` }, (value) => {
        state.threshold = value / 100;
        drawLarge();
      }),
      saveButtons(largeScene),
    ),
    title,
    facts,
    stage,
    reading,
  );
  panel.hidden = true;

  async function openHead(number) {
    const chosen = choice();
    const numbers = await weights(heads[number].layer, state.part);
    const { layer, head, name } = heads[number];
    open = number;
    Object.assign(large, { chosen, held: null, pointed: null });
    large.matrix = grouped(numbers, head, chosen, chosen.rows.length, chosen.columns.length, part().normalized);
    overview.hidden = true;
    panel.hidden = false;
    title.textContent = `Head ${name}`;
    const known = part().statistics.map((each) => `${each.name} ${digits(each.values[layer][head] ?? NaN)}`);
    if (part().clusters !== null) known.push(clusterName(clusterOf(heads[number])));
    facts.textContent = known.join(", ");
    fill(queryList, part().queries, chosen.rows);
    fill(keyList, part().keys ?? part().queries, chosen.columns);
    lines.style.height = `${Math.max(chosen.rows.length, chosen.columns.length) * TOKEN_ROW}px`;
    stage.scrollTop = 0;
    drawLarge();
    title.focus();
  }

  function fill(list, axis, kept) {
    const items = kept.map((token, i) => tokenElement("li", axis.tokens[token], { role: "option", id: `${list.className.split(" ")[1]}-${i}` }));
    list.replaceChildren(...items);
    list.removeAttribute("aria-activedescendant");
  }

  function closeHead() {
    const last = open;
    open = null;
    panel.hidden = true;
    overview.hidden = false;
    recolor();
    heads[last].button.focus();
  }

  /** Go on to the next head in the order of the board. */
  function step(by) {
    const place = order.indexOf(open) + by;
    if (place >= 0 && place < order.length) openHead(order[place]);
  }

  /** Call back for each line that is to be drawn: query, key, weight and opacity. */
  function eachLine(callback) {
    const { matrix, chosen } = large;
    const [rows, columns] = [chosen.rows.length, chosen.columns.length];
    const scale = top(heads[open].layer);
    const focus = large.pointed ?? large.held;
    const [firstRow, lastRow] = focus?.side === "queries" ? [focus.i, focus.i] : [0, rows - 1];
    const [firstColumn, lastColumn] = focus?.side === "keys" ? [focus.i, focus.i] : [0, columns - 1];
    for (let i = firstRow; i <= lastRow; i += 1) {
      for (let j = firstColumn; j <= lastColumn; j += 1) {
        const weight = matrix[i * columns + j];
        const opacity = Math.min(1, Math.abs(weight) / scale);
        if (opacity >= Math.max(FAINTEST, state.threshold)) callback(i, j, weight, opacity);
      }
    }
  }

  /** The lines between two heights of the stage, as a picture that begins at the first. */
  function linesBetween(scene, x, width, begin, end, shift) {
    const { line } = colorsOf(heads[open]);
    let count = 0;
    eachLine((i, j, weight, opacity) => {
      const [y1, y2] = [i, j].map((n) => (n + 0.5) * TOKEN_ROW);
      count += 1;
      if (Math.max(y1, y2) < begin || Math.min(y1, y2) > end) return;
      const signed = part().signed ? color(weight < 0 ? "--negative" : "--positive") : line;
      scene.line(x, y1 + shift, x + width, y2 + shift, { color: signed, alpha: opacity, width: 2, dash: weight < 0 ? [5, 3] : null });
    });
    return count;
  }

  function drawLarge() {
    if (open === null) return;
    const width = lines.clientWidth;
    const height = Math.min(stage.clientHeight, lines.clientHeight);
    const scene = new Scene(width, height);
    large.drawn = linesBetween(scene, 0, width, stage.scrollTop, stage.scrollTop + height, -stage.scrollTop);
    scene.toCanvas(linesCanvas);
    mark();
  }

  /** Show which token is held or pointed at, and say its strongest links. */
  function mark() {
    const focus = large.pointed ?? large.held;
    for (const [side, list] of [["queries", queryList], ["keys", keyList]]) {
      for (const item of list.querySelectorAll(".active, .held")) item.classList.remove("active", "held");
      const isHeld = large.held?.side === side;
      if (isHeld) list.children[large.held.i].classList.add("held");
      for (const [i, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(isHeld && large.held.i === i));
      if (focus?.side === side) list.children[focus.i].classList.add("active");
    }
    reading.textContent = focus === null ? "Point at a token, or choose one with the arrow keys, to see its lines alone; click or press Enter to hold it." : strongest(focus);
  }

  function strongest({ side, i }) {
    const { matrix, chosen } = large;
    const columns = chosen.columns.length;
    const others = side === "queries" ? chosen.columns.map((_, j) => [j, matrix[i * columns + j]]) : chosen.rows.map((_, row) => [row, matrix[row * columns + i]]);
    const [own, other] = side === "queries" ? [queryList, keyList] : [keyList, queryList];
    const defined = others.filter(([, weight]) => !Number.isNaN(weight)).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    const listed = defined.slice(0, 5).map(([n, weight]) => `\u2068${other.children[n].textContent}\u2069 ${digits(weight)}`);
    const name = `\u2068${own.children[i].textContent}\u2069`;
    if (listed.length === 0) return `${name}: a row without mass`;
    return side === "queries" ? `${name} attends to ${listed.join(", ")}` : `${name} is attended to by ${listed.join(", ")}`;
  }

  function point(focus) {
    if (focus?.side === large.pointed?.side && focus?.i === large.pointed?.i) return;
    large.pointed = focus;
    drawLarge();
  }

  for (const [side, list] of [["queries", queryList], ["keys", keyList]]) {
    const numberOf = (target) => [...list.children].indexOf(target.closest("li"));
    const hold = (i) => {
      large.held = large.held?.side === side && large.held.i === i ? null : { side, i };
      drawLarge();
      announce(large.held === null ? "released" : reading.textContent);
    };
    const to = (i) => {
      list.setAttribute("aria-activedescendant", list.children[i].id);
      list.children[i].scrollIntoView({ block: "nearest" });
      point({ side, i });
      announce(reading.textContent);
    };
    list.addEventListener("mouseover", (event) => event.target.closest("li") && point({ side, i: numberOf(event.target) }));
    list.addEventListener("mouseleave", () => point(null));
    list.addEventListener("blur", () => point(null));
    list.addEventListener("click", (event) => event.target.closest("li") && hold(numberOf(event.target)));
    list.addEventListener("keydown", (event) => {
      const at = large.pointed?.side === side ? large.pointed.i : -1;
      const last = list.children.length - 1;
      const moves = { ArrowUp: Math.max(0, at - 1), ArrowDown: Math.min(last, at + 1), Home: 0, End: last };
      if (event.key in moves) to(moves[event.key]);
      else if ((event.key === "Enter" || event.key === " ") && at >= 0) hold(at);
      else return;
      event.preventDefault();
    });
  }
  stage.addEventListener("scroll", () => requestAnimationFrame(drawLarge));
  panel.addEventListener("keydown", (event) => {
    if (event.target.closest("input")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open !== null) closeHead();
  });

  /** All of the large picture, with its tokens and not only what fits the screen. */
  function largeScene() {
    const { chosen } = large;
    const [side, middle, above] = [150, 320, 28];
    const length = Math.max(chosen.rows.length, chosen.columns.length) * TOKEN_ROW;
    const scene = new Scene(2 * side + middle, above + length + 8, color("--paper"));
    scene.text(side + middle / 2, above / 2, title.textContent, { color: color("--ink"), anchor: "middle", weight: "bold" });
    linesBetween(scene, side, middle, 0, length, above);
    for (const [list, x, anchor] of [[queryList, side - 6, "end"], [keyList, side + middle + 6, "start"]]) {
      [...list.children].forEach((item, i) => {
        scene.text(x, above + (i + 0.5) * TOKEN_ROW, item.textContent, { color: color("--ink"), size: 12, anchor });
      });
    }
    return scene;
  }

  // ---- the page

  const keysHelp = el(
    "p",
    { class: "faint" },
    ...["Arrow keys", "Home", "End"].flatMap((key) => [el("kbd", { text: key }), " "]),
    "move between heads, ",
    el("kbd", { text: "Enter" }),
    " opens one, ",
    el("kbd", { text: "Esc" }),
    " goes back.",
  );
  overview.className = "overview";
  overview.append(bar, legend, board, keysHelp);
  document.body.append(el("h1", { text: whole(data.title) }), overview, panel, about);
  onTheme(() => (open === null ? recolor() : drawLarge()));
  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => (open === null ? recolor() : drawLarge()), 100);
  });
  globalThis.bertattn = {
    weight: async (layer, head, i, j, number = state.part) => (await weights(layer, number)).at(head, i, j),
    state: () => ({ ...state, open: open === null ? null : heads[open].name, order: state.order, shown: order.map((n) => heads[n].name) }),
    drawn: () => (open === null ? painted : large.drawn),
  };
  await show(0);
});
