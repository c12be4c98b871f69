// Without this script the page says the same: tables stay in their order, and the command is copied by hand.

const collator = new Intl.Collator("en", { numeric: true });

/** What a cell is sorted by: a number to its last digit, or its text; empty where there is no value. */
function sortedBy(cell) {
  return cell.dataset.value ?? cell.textContent.trim();
}

function makeSortable(table) {
  const [body] = table.tBodies;
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  for (const [column, header] of headers.entries()) {
    const values = rows.map((row) => sortedBy(row.cells[column]));
    const numbers = values.map(Number);
    const numeric = values.every((value, n) => value === "" || !Number.isNaN(numbers[n]));
    const compare = numeric ? (a, b) => numbers[a] - numbers[b] : (a, b) => collator.compare(values[a], values[b]);
    // Of numbers the largest first, of names the first of the alphabet; the third click brings the order of the file.
    const turns = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => {
      const turn = turns[turns.indexOf(header.getAttribute("aria-sort")) + 1];
      for (const other of headers) other.removeAttribute("aria-sort");
      let order = rows.map((_, n) => n);
      if (turn) {
        header.setAttribute("aria-sort", turn);
        const sign = turn === "ascending" ? 1 : -1;
        const filled = order.filter((n) => values[n] !== "").sort((a, b) => sign * compare(a, b) || a - b);
        order = [...filled, ...order.filter((n) => values[n] === "")];
      }
      body.append(...order.map((n) => rows[n]));
    });
    header.append(button);
  }
}

/** A box that is too narrow for what is in it says so, and can be scrolled by keyboard; others are no stop on the way. */
function watchWidth(box) {
  const look = () => {
    const hidden = box.scrollWidth - box.clientWidth;
    if (hidden > 1) {
      box.dataset.more = hidden - box.scrollLeft > 1 ? "right" : "left";
      box.tabIndex = 0;
    } else {
      delete box.dataset.more;
      box.removeAttribute("tabindex");
    }
  };
  const observer = new ResizeObserver(look);
  observer.observe(box);
  observer.observe(box.firstElementChild);
  box.addEventListener("scroll", look, { passive: true });
}

function addCopyButton(text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: copy it with the keyboard";
    }
  });
  text.after(button);
}

/** The contents show which section is being read. */
function followReading(links) {
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const link = links.find((one) => one.hash === `#${target.id}`);
        if (isIntersecting) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    },
    { rootMargin: "-20% 0px -79% 0px" },
  );
  for (const link of links) observer.observe(document.getElementById(decodeURIComponent(link.hash.slice(1))));
}

document.querySelectorAll("table:has(thead)").forEach(makeSortable);
document.querySelectorAll(".scroll").forEach(watchWidth);
document.querySelectorAll("pre.command").forEach(addCopyButton);
followReading([...document.querySelectorAll("nav a")]);
