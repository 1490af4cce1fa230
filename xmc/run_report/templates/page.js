"use strict";
// A click on a column's head sorts its table; a second one turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const falling = head.getAttribute("aria-sort") === "ascending" || (head.className === "number" && !head.hasAttribute("aria-sort"));
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
    const compare = (a, b) => (a - b || String(a).localeCompare(b, undefined, { numeric: true })) * (falling ? -1 : 1);
    body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
  });
}
