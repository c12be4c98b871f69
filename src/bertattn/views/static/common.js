// What every view needs: the page's data, controls, drawing, and saving what is drawn.

const data = JSON.parse(document.getElementById("data").textContent);

// ---------------------------------------------------------------------------------------------------------- elements

/** An element. Options: class, text, on (listeners by event); every other option is an attribute (null leaves it out). */
function el(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "on")
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const LONGEST_TOKEN = 18;
// Variation selectors are unseen where there is nothing that they could vary.
const UNSEEN =
  /[\p{Cc}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Bidi_Control}\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|(?<=^|[\s\p{Variation_Selector}])\p{Variation_Selector}/gu;
const BLANK = /^[\s\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]+$/u;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const SEGMENTER = Intl.Segmenter ? new Intl.Segmenter("en", { granularity: "grapheme" }) : null;

function spelt(sign) {
  return `⟨U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** A token's whole text, with what cannot be seen, or turns other text around, spelt out: ⟨U+202E⟩. */
function whole(token) {
  if (token === "") return "⟨empty⟩";
  if (/^ +$/.test(token)) return token.replaceAll(" ", "␣");
  return BLANK.test(token) ? Array.from(token, spelt).join("") : token.replace(UNSEEN, spelt);
}

/** The same, cut where it is long, between what readers take for characters. */
function shown(token) {
  const text = whole(token);
  if (text.length <= LONGEST_TOKEN) return text;
  const signs = SEGMENTER ? Array.from(SEGMENTER.segment(text), ({ segment }) => segment) : Array.from(text);
  return signs.length <= LONGEST_TOKEN ? text : `${signs.slice(0, LONGEST_TOKEN - 1).join("")}…`;
}

/** "rtl" or "ltr", by the first letter. */
function directionOf(text) {
  return RIGHT_TO_LEFT.test(/\p{L}/u.exec(text)?.[0] ?? "") ? "rtl" : "ltr";
}

/** A token as an element: its own direction, apart from its neighbours', the whole of it in a tooltip. */
function tokenElement(tag, token, options = {}) {
  const classes = ["token", options.class].filter(Boolean).join(" ");
  return el(tag, { dir: "auto", title: whole(token), text: shown(token), ...options, class: classes });
}

/** Where the view stands. */
const main = el("main");
document.body.append(main);

const speaker = el("div", { class: "hidden-text", role: "status", "aria-live": "polite" });
document.body.append(speaker);

/** Say something to screen readers. */
function announce(text) {
  speaker.textContent = text;
}

const trouble = el("p", { class: "problem", role: "alert", hidden: "" });
document.body.prepend(trouble);

/** Say on the page what went wrong. */
function complain(error) {
  trouble.textContent = `The view could not be drawn. ${error.message}`;
  trouble.hidden = false;
}

let controls = 0;

function newId() {
  controls += 1;
  return `control-${controls}`;
}

/** A row of controls with a name. */
function group(label, ...children) {
  return el(
    "span",
    { class: "control", role: "group", "aria-label": label },
    el("span", { class: "name", text: label }),
    ...children,
  );
}

/** Labelled controls; each is an element with `set(value)`, which changes what it shows without calling back. */
const control = {
  select(label, choices, value, changed) {
    const id = newId();
    const select = el("select", { id, on: { change: () => changed(choices[select.selectedIndex].value) } });
    for (const choice of choices) select.append(el("option", { text: choice.label }));
    const made = el("span", { class: "control" }, el("label", { class: "name", for: id, text: label }), select);
    made.set = (wanted) => {
      select.selectedIndex = choices.findIndex((choice) => choice.value === wanted);
    };
    made.set(value);
    return made;
  },
  checkbox(label, checked, changed) {
    const input = el("input", { type: "checkbox", on: { change: () => changed(input.checked) } });
    const made = el("label", { class: "control" }, input, label);
    made.set = (wanted) => {
      input.checked = wanted;
    };
    made.enable = (wanted) => {
      input.disabled = !wanted;
    };
    made.set(checked);
    return made;
  },
  slider(label, { min = 0, max = 100, step = 1, value, format = String }, changed) {
    const id = newId();
    const output = el("output", { for: id });
    const input = el("input", { type: "range", id, min, max, step, on: { input: () => changed(shownValue()) } });
    const shownValue = () => {
      output.textContent = format(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
      return Number(input.value);
    };
    const made = el("span", { class: "control" }, el("label", { class: "name", for: id, text: label }), input, output);
    made.set = (wanted) => {
      input.value = wanted;
      shownValue();
    };
    made.set(value);
    return made;
  },
  /** One of several. */
  buttons(label, choices, value, changed) {
    const choose = (wanted) => {
      made.set(wanted);
      changed(wanted);
    };
    const buttons = choices.map(({ label: text, title, value }) =>
      el("button", { type: "button", text, title, on: { click: () => choose(value) } }),
    );
    const made = group(label, ...buttons);
    made.set = (wanted) => {
      for (const [i, button] of buttons.entries()) {
        button.setAttribute("aria-pressed", String(choices[i].value === wanted));
      }
    };
    made.set(value);
    return made;
  },
  /** Any of several, each with a colour if there is one; a double click or the key O chooses one alone. */
  toggles(label, choices, chosen, changed) {
    let on = new Set(chosen);
    const choose = (values) => {
      made.set(values);
      changed(choices.map(({ value }) => value).filter((value) => on.has(value)));
    };
    const buttons = choices.map(({ label: text, title, value, color }) => {
      const swatch = color === undefined ? null : el("span", { class: "swatch" });
      const click = () => choose(on.has(value) ? [...on].filter((other) => other !== value) : [...on, value]);
      const dblclick = () => choose([value]);
      const keydown = (event) => {
        if (event.key.toLowerCase() === "o" && !event.ctrlKey && !event.altKey && !event.metaKey) choose([value]);
      };
      return el("button", { type: "button", title, on: { click, dblclick, keydown } }, swatch, text);
    });
    const every = (text, values) => el("button", { type: "button", text, on: { click: () => choose(values) } });
    const all = choices.map(({ value }) => value);
    const made = group(label, ...buttons, every("All", all), every("None", []));
    made.paint = () => {
      for (const [i, button] of buttons.entries()) {
        button.setAttribute("aria-pressed", String(on.has(choices[i].value)));
        const swatch = button.querySelector(".swatch");
        if (swatch) swatch.style.background = choices[i].color();
      }
    };
    made.set = (values) => {
      on = new Set(values);
      made.paint();
    };
    made.paint();
    return made;
  },
};

// ------------------------------------------------------------------------------------------------------------ colours

// Okabe and Ito's colours first, as in bertattn.figures.
const LIGHT =
  "#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9 #000000 #882255 " +
  "#999933 #332288 #117733 #aa4499 #6699cc #661100 #44aa99 #7f7f7f";
const DARK =
  "#3d9fe0 #ff8a3d #2fc79b #e39bc5 #f2b632 #8fd0f7 #ffffff #d9628f " +
  "#c9c95a #9a8cf0 #55b56f #d98bd0 #a3c4ec #d1806f #7fd6ca #b3b3b3";
const darkness = matchMedia("(prefers-color-scheme: dark)");
const printing = matchMedia("print");

/** The colour of head i. */
function palette(i) {
  const colors = (darkness.matches && !printing.matches ? DARK : LIGHT).split(" ");
  return colors[i % colors.length];
}

/** The colour that the style calls by this name, such as "--ink". */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Call back where the page turns light or dark. */
function onTheme(callback) {
  darkness.addEventListener("change", callback);
  printing.addEventListener("change", callback);
}

// ------------------------------------------------------------------------------------------------------------ numbers

const damaged = () => new Error("The file is damaged; make it again, or copy it again from where it is whole.");

/** The bytes of a block of the page. */
async function inflated(name) {
  try {
    const text = atob(document.getElementById(`block-${name}`).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw damaged();
  }
}

const kept = new Map();

/** What `make` gives, made once for each name. */
function once(name, make) {
  if (!kept.has(name)) kept.set(name, make());
  return kept.get(name);
}

/** The values of the codes 0 to 255: see _payload.py. */
function decoder({ top, levels }, signed) {
  const zero = signed ? 128 : 0;
  return Float32Array.from({ length: 256 }, (_, code) => {
    const root = (code - zero) / levels;
    return top * root * Math.abs(root);
  });
}

/** What rounding to each code may have changed: half a step, which is small where the weight is small. */
function halfSteps({ top, levels }, signed) {
  const zero = signed ? 128 : 0;
  // (q + 1/2)^2 - q^2 = q + 1/4; a thousandth more for single precision.
  return Float32Array.from({ length: 256 }, (_, code) => (1.001 * top * (Math.abs(code - zero) + 0.25)) / levels ** 2);
}

/** The weights of one layer (counted from 0 as they lie in the page); rows without mass are NaN. */
function weights(layer, part = 0) {
  return once(`weights-${part}-${layer}`, async () => {
    const about = data.parts[part];
    const [queries, keys] = [about.queries.tokens.length, (about.keys ?? about.queries).tokens.length];
    const codes = await inflated(`weights-${part}-${layer}`);
    if (codes.length !== about.heads.length * queries * keys) throw damaged();
    const values = decoder(about.coding[layer], about.signed);
    const steps = halfSteps(about.coding[layer], about.signed);
    const empty = new Set(about.coding[layer].empty);
    const at = (head, i, j) => (empty.has(head * queries + i) ? NaN : values[codes[(head * queries + i) * keys + j]]);
    return {
      codes,
      values,
      queries,
      keys,
      at,
      isEmpty: (head, i) => empty.has(head * queries + i),
      row: (head, i) => Float32Array.from({ length: keys }, (_, j) => at(head, i, j)),
      column: (head, j) => Float32Array.from({ length: queries }, (_, i) => at(head, i, j)),
      /** All weights of one head, `[query * key]`. */
      matrix(head) {
        const matrix = new Float32Array(queries * keys);
        const start = head * queries * keys;
        for (let n = 0; n < matrix.length; n += 1) matrix[n] = values[codes[start + n]];
        for (let i = 0; i < queries; i += 1)
          if (empty.has(head * queries + i)) matrix.fill(NaN, i * keys, (i + 1) * keys);
        return matrix;
      },
      /** How far each weight of one head may be from the computed one, `[query * key]`. */
      errors: (head) =>
        Float32Array.from({ length: queries * keys }, (_, n) => steps[codes[head * queries * keys + n]]),
    };
  });
}

/** An array of the page, written as "float16" or "float32", as a Float32Array. */
function array(name, written = "float16") {
  return once(`array-${name}`, async () => {
    const bytes = await inflated(name);
    return written === "float32"
      ? new Float32Array(bytes.buffer)
      : Float32Array.from(new Uint16Array(bytes.buffer), half);
  });
}

/** The number that 16 bits stand for. */
function half(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 0x1f, bits & 0x3ff];
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** A number as people read it. */
function digits(value, count = 3) {
  if (Number.isNaN(value)) return "undefined";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 0.001 && size < 1000 ? value.toFixed(count) : value.toPrecision(2);
}

// ------------------------------------------------------------------------------------------------------------ drawing

/** A picture as a list of marks, drawn on a canvas or written as SVG. Marks: line, rect, path, text. */
class Scene {
  constructor(width, height, background = null) {
    Object.assign(this, { width, height, background, marks: [] });
  }

  line(x1, y1, x2, y2, { color, width = 1.4, alpha = 1, dash = null }) {
    this.marks.push({ kind: "line", x1, y1, x2, y2, color, width, alpha, dash });
  }

  rect(x, y, width, height, { color, alpha = 1, stroke = null }) {
    this.marks.push({ kind: "rect", x, y, width, height, color, alpha, stroke });
  }

  /** A curve in SVG's path language; not filled. */
  path(d, { color, width = 1.4, alpha = 1, dash = null }) {
    this.marks.push({ kind: "path", d, color, width, alpha, dash });
  }

  /** Text around a middle line; anchor is "start", "middle" or "end". A halo keeps it legible on lines. */
  text(x, y, text, { color, size = 12, anchor = "start", halo = null, weight = "normal" }) {
    this.marks.push({ kind: "text", x, y, text, color, size, anchor, halo, weight });
  }

  /** Draw into a 2D context whose unit is a CSS pixel. */
  drawOn(context) {
    if (this.background) {
      context.globalAlpha = 1;
      context.fillStyle = this.background;
      context.fillRect(0, 0, this.width, this.height);
    }
    for (const mark of this.marks) {
      context.globalAlpha = mark.alpha ?? 1;
      if (mark.kind === "rect") {
        if (mark.color) {
          context.fillStyle = mark.color;
          context.fillRect(mark.x, mark.y, mark.width, mark.height);
        }
        if (mark.stroke) {
          context.setLineDash([]);
          context.lineWidth = 1;
          context.strokeStyle = mark.stroke;
          context.strokeRect(mark.x, mark.y, mark.width, mark.height);
        }
      } else if (mark.kind === "text") {
        context.font = `${mark.weight} ${mark.size}px ${FONT}`;
        context.textAlign = mark.anchor === "middle" ? "center" : mark.anchor === "end" ? "right" : "left";
        context.textBaseline = "middle";
        context.direction = directionOf(mark.text);
        if (mark.halo) {
          context.setLineDash([]);
          context.lineJoin = "round";
          context.lineWidth = 3;
          context.strokeStyle = mark.halo;
          context.strokeText(mark.text, mark.x, mark.y);
        }
        context.fillStyle = mark.color;
        context.fillText(mark.text, mark.x, mark.y);
      } else {
        context.strokeStyle = mark.color;
        context.lineWidth = mark.width;
        context.setLineDash(mark.dash ?? []);
        if (mark.kind === "path") {
          context.stroke(new Path2D(mark.d));
        } else {
          context.beginPath();
          context.moveTo(mark.x1, mark.y1);
          context.lineTo(mark.x2, mark.y2);
          context.stroke();
        }
      }
    }
    context.globalAlpha = 1;
  }

  /** Draw on a canvas element, sharp on every screen. */
  toCanvas(canvas, scale = devicePixelRatio) {
    const context = sized(canvas, this.width, this.height, scale);
    this.drawOn(context);
  }

  toSVG() {
    const size = `width="${this.width}" height="${this.height}"`;
    const parts = [
      `<svg xmlns="http://www.w3.org/2000/svg" ${size} viewBox="0 0 ${this.width} ${this.height}" font-family="${escaped(FONT)}">`,
    ];
    if (this.background) parts.push(`<rect ${size} fill="${escaped(this.background)}"/>`);
    for (const mark of this.marks) parts.push(svgOf(mark));
    return `${parts.join("\n")}\n</svg>\n`;
  }
}

const FONT = 'system-ui, "Segoe UI", "Noto Sans", sans-serif';

/** A canvas of so many CSS pixels, empty, and its context. */
function sized(canvas, width, height, scale = devicePixelRatio) {
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}

/** Text for XML: its signs escaped, characters it may not hold left out. */
function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text)
    .replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "")
    .replace(/[&<>"']/g, (sign) => names[sign]);
}

function short(number) {
  return String(Math.round(number * 100) / 100);
}

function svgOf(mark) {
  const paint = (name) => `${name}="${escaped(mark.color)}"`;
  const opacity = mark.alpha === undefined || mark.alpha === 1 ? "" : ` opacity="${short(Math.max(mark.alpha, 0.01))}"`;
  if (mark.kind === "rect") {
    const place = `x="${short(mark.x)}" y="${short(mark.y)}" width="${short(mark.width)}" height="${short(mark.height)}"`;
    const edge = mark.stroke ? ` stroke="${escaped(mark.stroke)}"` : "";
    return `<rect ${place} fill="${mark.color ? escaped(mark.color) : "none"}"${edge}${opacity}/>`;
  }
  if (mark.kind === "text") {
    const halo = mark.halo ? ` stroke="${escaped(mark.halo)}" stroke-width="3" paint-order="stroke"` : "";
    const direction = directionOf(mark.text);
    // Text from right to left starts at its right edge.
    const anchor = direction === "rtl" ? { start: "end", end: "start" }[mark.anchor] : undefined;
    const place = `x="${short(mark.x)}" y="${short(mark.y)}" text-anchor="${anchor ?? mark.anchor}" dominant-baseline="central"`;
    const style = `font-size="${mark.size}" font-weight="${mark.weight}" direction="${direction}" style="unicode-bidi: isolate"`;
    return `<text ${place} ${style} ${paint("fill")}${halo}>${escaped(mark.text)}</text>`;
  }
  const stroke = `${paint("stroke")} stroke-width="${mark.width}"${mark.dash ? ` stroke-dasharray="${mark.dash.join(" ")}"` : ""}`;
  if (mark.kind === "path") return `<path d="${escaped(mark.d)}" fill="none" ${stroke}${opacity}/>`;
  return `<line x1="${short(mark.x1)}" y1="${short(mark.y1)}" x2="${short(mark.x2)}" y2="${short(mark.y2)}" ${stroke}${opacity}/>`;
}

const LARGEST_CANVAS = 16000;

// A frame may be forbidden to save, and is not told so.
const MAY_FAIL = window.parent !== window || (window.origin === "null" && location.protocol !== "file:");

/** Buttons that save what is shown: `makeScene` gives it. */
function saveButtons(makeScene, name = data.kind) {
  const note = el("span", { class: "faint", hidden: "" });
  const tell = (text) => {
    note.textContent = text;
    note.hidden = text === "";
  };
  const save = (blob, ending) => {
    if (blob === null) {
      tell("This browser cannot make so large a PNG; save an SVG.");
      announce(note.textContent);
      return;
    }
    const address = URL.createObjectURL(blob);
    const link = el("a", { href: address, download: `${name}.${ending}` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    tell(MAY_FAIL ? "If nothing was saved, this frame does not allow downloads; open the saved HTML file." : "");
    announce(`saving ${ending.toUpperCase()}. ${note.textContent}`);
  };
  const svg = () => save(new Blob([makeScene().toSVG()], { type: "image/svg+xml" }), "svg");
  const png = () => {
    const scene = makeScene();
    const canvas = el("canvas");
    scene.toCanvas(canvas, Math.min(2, LARGEST_CANVAS / Math.max(scene.width, scene.height)));
    canvas.toBlob((blob) => save(blob, "png"), "image/png");
  };
  const button = (text, click) =>
    el("button", { type: "button", text, title: `Save what is shown as ${text}`, on: { click } });
  const buttons = [button("SVG", svg), button("PNG", png)];
  return el("span", { class: "control", role: "group", "aria-label": "Save" }, ...buttons, note);
}

// -------------------------------------------------------------------------------------------------------------- start

/** What is left after rounding, in words. */
function errorNote(error) {
  return `Weights are kept in at most 8 bits; read from this page they differ from the computed ones by at most ${error.toPrecision(2)}.`;
}

/** Run a view; what goes wrong is said on the page. */
async function start(view) {
  try {
    if (typeof DecompressionStream === "undefined") {
      throw new Error(
        "This browser cannot inflate the page's numbers (it lacks DecompressionStream). Any browser since 2023 can.",
      );
    }
    await view();
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    complain(error);
    throw error;
  }
}
