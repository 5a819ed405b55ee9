"use strict";
(() => {
  const form = document.getElementById("filters"), shown = document.getElementById("shown");
  const sorted = document.getElementById("sorted");
  const commands = JSON.parse(document.getElementById("commands").textContent);
  const strips = JSON.parse(document.getElementById("strips").textContent);
  const make = (tag, text, given = {}) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
    return made;
  };
  const drawing = (tag, given) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
    return made;
  };

  // A table: its rows with what can be searched for and filtered by.
  const sheets = [...document.querySelectorAll(".sheet")].map((section) => {
    const heads = [...section.querySelectorAll("thead th")];
    const fields = heads.map((head) => head.dataset.field);
    const rows = [...section.querySelectorAll("tbody tr")].map((element, place) => {
      const cells = [...element.cells].slice(1), texts = cells.map((cell) => cell.textContent);
      const values = { sheet: [section.dataset.sheet] };
      fields.forEach((field, at) => { if (field) (values[field] ??= []).push(texts[at]); });
      values.state = values.state.map((state) => /^(before|after)$/.test(state) ? state : "other");
      const name = cells.filter((_, at) => /^(dataset|depth|state|preset|defense)$/.test(fields[at]))
        .map((cell) => cell.textContent).filter(Boolean).map((text) => /^\d+$/.test(text) ? `depth ${text}` : text);
      const words = `${texts.join(" ")} ${commands[element.dataset.c]}`.toLowerCase();
      return { element, place, texts, values, name, words, pictured: element.dataset.p !== undefined };
    });
    return { section, heads, rows, box: section.querySelector(".wide"), body: section.querySelector("tbody"), title: section.dataset.sheet };
  });
  const all = sheets.flatMap((sheet) => sheet.rows);
  const closed = (row) => {
    row.detail?.remove();
    row.detail = null;
    row.button.textContent = row.pictured ? "▣" : "+";
    row.button.setAttribute("aria-expanded", "false");
  };

  // Pictures are cut out of their file by the view box, and loaded when they are asked for.
  const cut = (file, width, height, left, top, wide, high, words) => {
    const view = drawing("svg", { viewBox: `${left} ${top} ${wide} ${high}`, role: "img", "aria-label": words });
    const image = drawing("image", { href: `pictures/${file}`, width, height });
    image.addEventListener("error", () => view.replaceWith(make("p", `The file pictures/${file} is not beside this page.`)));
    view.append(image);
    return view;
  };
  const opened = (row) => {
    const box = make("div");
    if (row.pictured) {
      const [file, width, height, left, top, wide, high] = strips[row.element.dataset.p];
      box.append(make("p", /, seed \d+$/.test(row.texts[3]) ? "Originals above; below them what the attack made of them."
        : "Originals above; below them what the attack with the first seed made of them."),
        cut(file, width, height, left, 0, wide, high, "The originals"),
        cut(file, width, height, left, top, wide, high, `Reconstructions: ${row.name.join(", ")}`));
    } else box.append(make("p", "No pictures of this cell were kept."));
    box.append(make("p", "Measured again by:"), make("pre", commands[row.element.dataset.c]));
    const place = make("td", "", { colspan: row.texts.length + 1 });
    place.append(box);
    row.detail = make("tr", "", { class: "detail" });
    row.detail.append(place);
    row.element.after(row.detail);
    row.button.textContent = "−";
    row.button.setAttribute("aria-expanded", "true");
  };
  for (const row of all) {
    const what = row.pictured ? "Pictures and command" : "Command";
    row.button = make("button", "", { type: "button", "aria-label": `${what}: ${row.name.join(", ")}` });
    row.button.addEventListener("click", () => row.detail ? closed(row) : opened(row));
    row.element.cells[0].append(row.button);
    row.element.cells[1].dataset.name = row.name.slice(1).join(", ");
    closed(row);
  }

  // The columns that say what a row is of stay at the left; where each begins depends on the rows that are shown, and
  // is not looked at before a table is scrolled.
  const pin = ({ section, heads }) => {
    const cells = [...heads[0].parentElement.cells].slice(0, 4), widths = cells.map((cell) => cell.offsetWidth);
    widths.forEach((_, at) => section.style.setProperty(`--at-${at + 1}`, `${widths.slice(0, at + 1).reduce((a, b) => a + b)}px`));
  };
  for (const sheet of sheets) sheet.box.addEventListener("scroll", () => pin(sheet), { passive: true });

  // Numbers come in their order, then words, then what is empty, whichever way a column is sorted.
  const rank = (text) => {
    const number = parseFloat(text);
    return text === "" ? [2, ""] : /^-?[\d.]/.test(text) && !Number.isNaN(number) ? [0, number] : [1, text];
  };
  const compared = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  const sort = (sheet, at, way) => {
    sheet.heads.forEach((head, other) => head.setAttribute("aria-sort", other === at ? way : "none"));
    const sign = way === "descending" ? -1 : 1;
    const keyed = sheet.rows.map((row) => [rank(row.texts[at]), row]);
    keyed.sort(([[a, x], one], [[b, y], two]) => a - b || sign * compared(x, y) || one.place - two.place);
    sheet.rows.filter((row) => row.detail).forEach(closed);
    sheet.body.append(...keyed.map(([, row]) => row.element));
    sorted.textContent = `${sheet.title} is sorted by ${sheet.heads[at].textContent}, ${way}.`;
  };
  for (const sheet of sheets) {
    sheet.heads.forEach((head, at) => {
      const button = make("button", head.textContent, { type: "button" });
      button.addEventListener("click", () =>
        sort(sheet, at, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"));
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
    });
  }

  const selects = [...form.querySelectorAll("select")];
  for (const select of selects) {
    const values = [...new Set(all.flatMap((row) => row.values[select.name] ?? []))].filter(Boolean);
    if (select.name !== "sheet") values.sort((a, b) => compared(a, b));
    for (const value of values) select.append(make("option", value, { value }));
    // A choice between one value and itself is none.
    select.parentElement.hidden = values.length < 2;
  }
  const filter = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((select) => select.value).map((select) => [select.name, select.value]);
    const fits = (row) => words.every((word) => row.words.includes(word)) && (row.pictured || !form.pictured.checked)
      && wanted.every(([field, value]) => row.values[field]?.includes(value));
    let count = 0;
    for (const sheet of sheets) {
      let here = 0;
      for (const row of sheet.rows) {
        row.element.hidden = !fits(row);
        if (row.element.hidden && row.detail) closed(row);
        here += row.element.hidden ? 0 : 1;
      }
      sheet.section.hidden = here === 0;
      sheet.section.querySelector(".count").textContent =
        here === sheet.rows.length ? `(${here.toLocaleString("en")})` : `(${here.toLocaleString("en")} of ${sheet.rows.length.toLocaleString("en")})`;
      count += here;
    }
    const of = all.length.toLocaleString("en");
    shown.textContent = count ? `${count.toLocaleString("en")} of ${of} rows are shown.` : `None of ${of} rows fits.`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  document.getElementById("more").open = matchMedia("(min-width: 48rem)").matches;
  filter();
})();
