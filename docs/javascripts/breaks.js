// Names in tables may break after "_", ".", "(" and "=": on a phone a column is narrower than a signature.
document.addEventListener("DOMContentLoaded", () => {
  for (const code of document.querySelectorAll(".md-typeset td > code, .md-typeset td > a > code")) {
    const parts = code.textContent.split(/(?<=\w[_.(=])/)
    code.replaceChildren(...parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])))
  }
})
