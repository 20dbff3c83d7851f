"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = $(".filters");
  const fields = Object.fromEntries(
    ["text", "figure", "cohort", "model", "verdict"].map((key) => [key, $(`#f-${key}`)]));
  const cards = $$(".card");
  const rows = $$(".claims tbody tr");

  const has = (list, value) => !value || list.includes(`|${value}|`);
  const fits = ({ dataset }, wanted) =>
    wanted.words.every((word) => dataset.text.includes(word)) &&
    (!wanted.figure || wanted.figure === dataset.figure || wanted.figure === `g:${dataset.group}`) &&
    has(dataset.cohorts, wanted.cohort) &&
    has(dataset.models, wanted.model) &&
    has(dataset.verdicts, wanted.verdict);

  const apply = () => {
    const wanted = Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, field.value]));
    wanted.words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const item of [...cards, ...rows]) item.hidden = !fits(item, wanted);
    for (const group of $$(".group")) group.hidden = $$(".card", group).every((card) => card.hidden);
    const shown = (items) => items.filter((item) => !item.hidden).length;
    const [figures, statements] = [shown(cards), shown(rows)];
    $("#figures .empty").hidden = figures > 0;
    $("#statements .empty").hidden = statements > 0;
    $(".claims").hidden = statements === 0;
    $("#found").textContent =
      `${figures} of ${cards.length} panels and ${statements} of ${rows.length} statements shown`;
  };

  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  for (const key of ["verdict", "figure"]) {
    for (const link of $$(`[data-set-${key}]`)) {
      link.addEventListener("click", () => {
        form.reset();
        fields[key].value = link.getAttribute(`data-set-${key}`);
        apply();
      });
    }
  }
  // A link to a card or row that the filter hides would lead nowhere.
  for (const link of $$('.claims a[href^="#"], .scored a[href^="#"]')) {
    link.addEventListener("click", () => {
      form.reset();
      apply();
    });
  }
  apply();
  for (const button of $$("[data-more]")) {
    button.addEventListener("click", () => {
      for (const row of $$(button.dataset.more)) row.hidden = false;
      button.parentElement.remove();
    });
  }

  const viewer = $("#viewer");
  const pictures = $$("[data-view]");
  let at = 0;
  const show = (index) => {
    const open = pictures.filter((picture) => !picture.closest(".card").hidden);
    at = (index + open.length) % open.length;
    const { href, dataset } = open[at];
    const image = $("img", viewer);
    image.src = href;
    image.alt = $("img", open[at]).alt;
    $("#viewer-caption").textContent = dataset.caption;
    $("#viewer-file").hidden = !dataset.svg;
    if (dataset.svg) $("#viewer-file").href = dataset.svg;
    if (!viewer.open) viewer.showModal();
  };
  for (const picture of pictures) {
    picture.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show(pictures.filter((other) => !other.closest(".card").hidden).indexOf(picture));
    });
  }
  viewer.addEventListener("click", ({ target }) => {
    if (target === viewer || target.closest("[data-close]")) viewer.close();
    const step = target.closest("[data-step]");
    if (step) show(at + Number(step.dataset.step));
  });
  document.addEventListener("keydown", (event) => {
    if (viewer.open) {
      if (event.key === "ArrowLeft") show(at - 1);
      if (event.key === "ArrowRight") show(at + 1);
    } else if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
      event.preventDefault();
      fields.text.focus();
    }
  });
})();
