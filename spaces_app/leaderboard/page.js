// The URL follows the page and the page follows the URL. Python makes the queries; here they are only moved.
window.emms = (() => {
  const KEPT = "__"; // Gradio's own parameters, such as __theme, stay in the URL.
  const parameters = () => new URLSearchParams(window.location.search);

  function withKept(query) {
    const wanted = new URLSearchParams(query);
    for (const [name, value] of parameters()) if (name.startsWith(KEPT)) wanted.append(name, value);
    const text = wanted.toString();
    return text ? `?${text}` : window.location.pathname;
  }

  function withoutSearch(query) {
    const wanted = new URLSearchParams(query);
    wanted.delete("q");
    return wanted.toString();
  }

  function tell(query) {
    // A Space is in a frame of huggingface.co, whose address can follow along.
    if (window.parent !== window) window.parent.postMessage({ queryString: query }, "https://huggingface.co");
  }

  let followed = false; // a link, whose view is not here yet
  let synced = null;
  function sync(address) {
    if (!address || (address === synced && !followed)) return;
    const { query, title, asked } = JSON.parse(address);
    if (asked === null && followed) return; // that view is on its way
    if (asked !== null && asked !== window.location.search) return restore(); // another link was followed since
    followed = false;
    synced = address;
    document.title = title;
    document.getElementById("emms-first")?.remove(); // what was sent first; the page is here now
    const target = withKept(query);
    const now = window.location.search || window.location.pathname;
    if (target === now) return;
    // Every letter of a search is not a step to go back to.
    const typing = withoutSearch(query) === withoutSearch(window.location.search) && parameters().has("q");
    window.history[asked !== null || typing ? "replaceState" : "pushState"](null, "", target);
    tell(query);
  }

  function restore() {
    followed = true;
    document.activeElement?.blur(); // a picker that is open cannot take other choices
    document.getElementById("emms-restore")?.click();
  }

  function download(payload) {
    if (!payload) return;
    const { name, type, text } = JSON.parse(payload);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function copy(payload) {
    if (payload) toClipboard(JSON.parse(payload).text, document.getElementById("emms-copy"));
  }

  async function toClipboard(text, button) {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = "The browser forbids copying";
    }
    const before = button.textContent;
    button.textContent = done;
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("button[data-copy]");
    if (button) toClipboard(button.parentNode.querySelector("code").textContent, button);
  });

  let tapped = null;
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-view]");
    if (link?.closest("svg.plot") && event.pointerType === "touch" && tapped !== link) {
      tapped = link; // the tap has shown what it is
      event.preventDefault();
      return;
    }
    if (!document.getElementById("emms-restore")) return; // the page is not here yet: the link loads its view
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const query = new URL(link.getAttribute("href"), window.location.href).search;
    window.history.pushState(null, "", withKept(query));
    tell(query.slice(1));
    restore();
  });
  window.addEventListener("popstate", restore);

  // A picker filters its choices by what its field holds: typing replaces the choice of before.
  let entered = null;
  document.addEventListener("focusin", ({ target }) => {
    entered = target.matches?.("#emms-bar input[role=combobox]") ? target : null;
    entered?.select();
  });
  document.addEventListener("click", ({ target }) => {
    if (target === entered) target.select(); // the click that entered the field has put the cursor somewhere
    entered = null;
  });

  // What a point of the plot is: under the pointer, with the keyboard's focus, or at the first tap, the second one follows.
  const tip = document.createElement("div");
  tip.className = "emms-tip";
  tip.hidden = true;
  function point(event) {
    const link = event.target.closest?.("svg.plot a");
    tip.hidden = !link;
    if (!link) return;
    document.body.append(tip);
    tip.textContent = link.getAttribute("aria-label");
    const box = link.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.left, window.innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${box.bottom + 6}px`;
  }
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, point);
  window.addEventListener("scroll", () => { tip.hidden = true; }, true);

  // Ticked checkpoints of a table become a link to their comparison.
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("input[data-compare]")) return;
    const view = event.target.closest(".emms-view");
    const ticked = [...view.querySelectorAll("input[data-compare]:checked")];
    if (ticked.length > 5) event.target.checked = false;
    const names = ticked.slice(0, 5).map((box) => box.dataset.compare);
    const bar = view.querySelector(".compare");
    const wanted = parameters();
    for (const name of ["with", "checkpoint", "tab"]) wanted.delete(name);
    names.forEach((name) => wanted.append("with", name));
    bar.hidden = names.length < 2;
    bar.firstChild.href = `?${wanted}`;
    bar.firstChild.textContent = `Compare ${names.length} checkpoints`;
  });

  function fullScreen() {
    [...document.querySelectorAll(".sideways, .plots")].find((box) => box.offsetParent)?.requestFullscreen();
  }

  return { sync, download, copy, fullScreen };
})();
