// What the pages do beside links and forms: copying, keys, and loading again what is not known yet.
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
  // A live part stands still while one is in it: with the keyboard, a selection, or the space bar.
  let held = false;
  const still = (live) => {
    const chosen = document.getSelection();
    return held || live.contains(document.activeElement)
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
  let before = "";
  document.addEventListener("keydown", (event) => {
    const inField = event.target.closest("input, select, textarea");
    if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
    const was = before;
    before = event.key;
    if (event.key === "/") {
      const field = document.querySelector("header input[type=search]");
      if (field) { event.preventDefault(); field.focus(); }
    } else if (event.key === ".") {
      const command = document.getElementById("command");
      if (command) copy(command.textContent);
    } else if (event.key === " " && document.getElementById("live") && !event.target.closest("a, button, summary, [tabindex]")) {
      event.preventDefault();
      held = !held;
      document.getElementById("state").textContent = held ? "paused" : "live";
    } else if (event.key === "y") {
      copy(location.href);
    } else if (was === "g") {
      const page = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
      if (page) page.click();
    }
  });
})();
