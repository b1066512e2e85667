"use strict";
const form = document.querySelector(".filter"), list = document.querySelector(".wrong");
const cards = Array.from(list.children, (element) => ({
  element,
  missed: new Set(element.dataset.missed.split(" ").filter(Boolean)),
  added: new Set(element.dataset.added.split(" ").filter(Boolean)),
}));

function show() {
  const label = form.elements.label.value, kind = form.elements.kind.value;
  const has = (labels) => (label ? labels.has(label) : labels.size > 0);
  const fits = (card) => (kind !== "added" && has(card.missed)) || (kind !== "missed" && has(card.added));
  const shown = cards.filter(fits);
  list.replaceChildren(...shown.map((card) => card.element));
  form.elements.shown.value = `${shown.length} of ${cards.length} images`;
  document.querySelector(".nothing").hidden = shown.length > 0;
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(show));
form.hidden = false;
show();  // a browser that goes back to the page fills the form as it was left
