// What the pages do beside links and forms: copying, and loading again what is not known yet.
"use strict";
(() => {
  const copy = (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea");  // plain HTTP has no clipboard
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    return Promise.resolve();
  };
  window.hybridCopy = copy;
  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      copy(document.getElementById(button.dataset.copy).textContent).then(() => {
        button.textContent = "Copied";
      });
    });
  }
  const again = document.querySelector("main[data-again]");
  if (again && !document.getElementById("run") && !document.getElementById("live")) {
    setTimeout(() => location.reload(), Number(again.dataset.again) * 1000);
  }
  // A live part stands still while one is in it: with the keyboard, a selection, or the space bar;
  // a list that grows at its top also while one has scrolled down in it.
  let held = false;
  const still = (live) => {
    const chosen = document.getSelection();
    const scrolled = live.dataset.still === "scrolled" && scrollY > 40;
    return held || scrolled || live.contains(document.activeElement)
      || (chosen && !chosen.isCollapsed && live.contains(chosen.anchorNode));
  };
  document.addEventListener("htmx:sse:before:message", (event) => {
    const live = document.getElementById("live");
    const stands = live && still(live);
    document.getElementById("state").textContent = stands ? "paused" : "live";
    if (stands) event.preventDefault();
  });
  document.addEventListener("htmx:sse:error", () => {
    document.getElementById("state").textContent = "reconnecting";
  });
  document.addEventListener("hybrid:hold", () => {
    held = !held;
    document.getElementById("state").textContent = held ? "paused" : "live";
  });
})();
