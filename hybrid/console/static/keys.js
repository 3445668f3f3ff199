// The keyboard: moving, opening, copying, finding anything; nothing of it while one writes.
"use strict";
(() => {
  const OFF = "hybrid.keys";  // single keys are switched off in this browser
  const stored = () => { try { return localStorage.getItem(OFF) === "off"; } catch { return false; } };
  let off = stored();
  const make = (kind, text, more) => Object.assign(document.createElement(kind), { textContent: text || "" }, more);
  const pages = () => [...document.querySelectorAll("nav a[data-key]")];

  const KEYS = [
    ["g and a letter", "open a page: " + pages().map((one) => `${one.dataset.key} ${one.textContent}`).join(", ")],
    ["/", "search any id"], ["Ctrl K or ⌘ K", "go to a page or an id; works in fields too"],
    ["j, k", "to the next row or card, to the one before"], ["Enter", "open where one is"],
    [". y", "copy the command, the address"], ["Space", "hold what is live, and let it go on"], ["?", "this list"],
  ];
  let help = null;
  const showHelp = () => {
    if (!help) {
      help = make("dialog", "", { className: "panel" });
      help.setAttribute("aria-labelledby", "keys-title");
      const list = make("dl");
      for (const [key, what] of KEYS) list.append(make("dt", key), make("dd", what));
      const label = make("label"), box = make("input", "", { type: "checkbox", checked: !off });
      box.addEventListener("change", () => {
        off = !box.checked;
        try { localStorage.setItem(OFF, off ? "off" : "on"); } catch { /* for this page then */ }
      });
      label.append(box, " Keys without Ctrl or ⌘ do something");
      const close = make("button", "Close", { type: "button" });
      close.addEventListener("click", () => help.close());
      help.append(make("h2", "Keys", { id: "keys-title" }), list, label, make("p"), close);
      document.body.append(help);
    }
    help.showModal();
  };

  let palette = null;
  const showPalette = () => {
    if (!palette) {
      palette = make("dialog", "", { className: "panel palette" });
      palette.setAttribute("aria-label", "Go to");
      const field = make("input", "", { type: "text", placeholder: "a page, or any id" });
      field.setAttribute("aria-label", "A page, or any id");
      const list = make("ul");
      const fill = () => {
        const text = field.value.trim(), small = text.toLowerCase();
        const found = pages().filter((one) => one.textContent.toLowerCase().includes(small))
          .map((one) => [one.textContent, one.getAttribute("href")]);
        if (text) found.push([`Find ${text}`, `/intents?id=${encodeURIComponent(text)}`]);
        list.replaceChildren(...found.map(([name, href]) => {
          const item = make("li");
          item.append(make("a", name, { href }));
          return item;
        }));
      };
      field.addEventListener("input", fill);
      palette.addEventListener("keydown", (event) => {
        const links = [...list.querySelectorAll("a")], at = links.indexOf(document.activeElement);
        if (event.key === "Enter" && event.target === field && links[0]) { event.preventDefault(); links[0].click(); }
        if (event.key === "ArrowDown") { event.preventDefault(); (links[at + 1] || links[0]).focus(); }
        if (event.key === "ArrowUp") { event.preventDefault(); (links[at - 1] || field).focus(); }
      });
      palette.append(field, list);
      document.body.append(palette);
      palette.fill = () => { field.value = ""; fill(); field.focus(); };
    }
    palette.showModal();
    palette.fill();
  };

  const rows = () => [...document.querySelectorAll("main tbody tr, main .card")];
  const move = (step) => {
    const all = rows(), at = all.findIndex((one) => one.contains(document.activeElement));
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step];
    if (next) { next.tabIndex = -1; next.focus(); }
  };

  const button = document.getElementById("keys-button");
  if (button) { button.hidden = false; button.addEventListener("click", showHelp); }
  let before = "";
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      showPalette();
      return;
    }
    if (off || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    const was = before;
    before = event.key;
    const search = document.querySelector("header input[type=search]");
    const command = document.getElementById("command");
    if (was === "g") {
      const page = pages().find((one) => one.dataset.key === event.key);
      before = "";
      if (page) { page.click(); return; }
    }
    if (event.key === "?") showHelp();
    else if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
    else if (event.key === "." && command) window.hybridCopy(command.textContent);
    else if (event.key === "y") window.hybridCopy(location.href);
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "Enter" && event.target.matches("tr, .card")) {
      const link = event.target.querySelector("a");
      if (link) link.click();
    } else if (event.key === " " && document.getElementById("live") && !event.target.closest("a, button, summary")) {
      event.preventDefault();
      document.dispatchEvent(new Event("hybrid:hold"));
    }
  });
})();
