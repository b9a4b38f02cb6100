// Each cell knows its column's heading: on a phone, where the row of headings is not shown, it stands before the cell.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("article table.docutils")) {
    const headings = [...table.querySelectorAll("thead th")].map((heading) => heading.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, column) => {
        const text = cell.querySelector("p");
        if (text?.textContent && headings[column]) text.dataset.heading = headings[column];
      });
    }
  }
});
